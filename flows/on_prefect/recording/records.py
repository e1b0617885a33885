"""What is told of a run that Prefect did not orchestrate: the bodies of `POST /api/ipaas/runs` and of its answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

PATH: Final = "/ipaas/runs"
"""Below the address of Prefect's API. A server that is not ours answers it with 404."""
AT_ONCE: Final = 100
"""How many runs one request may tell of: more hold Prefect's SQLite database for 80 ms and longer."""
MOST_TAGS: Final = 50
"""Of a run: each is a related resource of its events, and Prefect takes 100 of those."""

Count = Annotated[int, Field(ge=0, lt=2**31)]
Text = Annotated[str, Field(min_length=1)]


class Kind(StrEnum):
    """Prefect's types of states."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({Kind.COMPLETED, Kind.FAILED, Kind.CANCELLED, Kind.CRASHED})


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Details(_Record):
    """What Prefect keeps with a state, as far as a run of ours has it."""

    scheduled_time: AwareDatetime | None = None
    pause_reschedule: bool = False
    run_input_keyset: dict[str, str] | None = None
    retriable: bool | None = None


class State(_Record):
    """A state that a run had. It is told apart from the run's others by its type, name and time."""

    type: Kind
    name: Text
    timestamp: AwareDatetime
    message: str | None = None
    details: Details = Details()


class TaskState(_Record):
    type: Literal[Kind.RUNNING, Kind.COMPLETED, Kind.FAILED, Kind.CANCELLED, Kind.CRASHED]
    name: Text
    message: str = ""
    """Empty when there is nothing to say, as Prefect's own task runs have it."""


class TaskRecord(_Record):
    """A step's action."""

    path: Text
    action: Text
    started: AwareDatetime
    ended: AwareDatetime | None = None
    run_count: Count = 1
    state: TaskState
    after: tuple[str, ...] = ()
    """Paths of the tasks that it waited for."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.state.type.is_final != (self.ended is not None):
            raise ValueError("a task has `ended` when its state is final, and only then")
        return self


class LogLine(_Record):
    at: AwareDatetime
    level: Annotated[int, Field(ge=0, lt=2**15)]
    message: str
    task: str | None = None
    """The path of the task that it is of."""


class Artifact(_Record):
    """What the run shows on its page. One run has one, which may change until it ends."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    type: Literal["markdown"] = "markdown"
    data: str
    description: str | None = None


class RunRecord(_Record):
    """A run as it is now, with all that it had been before."""

    id: UUID
    """Of the execution; the flow run has the same."""
    workflow: Text
    """Its flow and its deployment are called so, too."""
    name: Text
    version: str
    """Of the workflow."""
    parameters: dict[str, Any] = {}
    tags: Annotated[tuple[str, ...], Field(max_length=MOST_TAGS)] = ()
    labels: dict[str, str | int | float | bool] = {}
    created: AwareDatetime
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    run_count: Count = 1
    states: Annotated[tuple[State, ...], Field(min_length=1)]
    """All that it had, the present one last."""
    tasks: tuple[TaskRecord, ...] = ()
    logs: tuple[LogLine, ...] = ()
    artifact: Artifact | None = None
    inputs: dict[str, str] = {}
    """What a paused run leaves for Prefect's "Resume", by key."""

    @property
    def state(self) -> State:
        """The present one."""
        return self.states[-1]

    @field_validator("states")
    @classmethod
    def _goes_on(cls, states: tuple[State, ...]) -> tuple[State, ...]:
        if states[-1].type in (Kind.SCHEDULED, Kind.PENDING):
            raise ValueError("a run that is still to start is not recorded: Prefect's workers would take it")
        return states

    @field_validator("tasks")
    @classmethod
    def _once(cls, tasks: tuple[TaskRecord, ...]) -> tuple[TaskRecord, ...]:
        if len({task.path for task in tasks}) < len(tasks):
            raise ValueError("two tasks have one path")
        return tasks

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.state.type.is_final != (self.ended is not None):
            raise ValueError("a run has `ended` when its last state is final, and only then")
        return self


class Batch(_Record):
    at: AwareDatetime
    """Up to when in the history the runs are told of. Prefect's database keeps the latest, as a marker."""
    runs: Annotated[tuple[RunRecord, ...], Field(max_length=AT_ONCE)]
    """In any order; of two records of one run the later one counts."""


class Recorded(_Record):
    """The answer."""

    recorded: tuple[UUID, ...] = ()
    refused: dict[UUID, str] = {}
    """Why not, of those that can't be recorded however often they are sent."""
    before: AwareDatetime | None = None
    """The marker before this batch: an older one than was sent says that Prefect's database is not the one it was."""
