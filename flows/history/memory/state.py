"""What a history in memory keeps."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from flows.history import flow_control
from flows.history.documents import from_document, to_document
from flows.history.flow_control import ARRIVED, QUEUE
from flows.history.notices import LocalNotices
from flows.history.polled import PollState
from flows.history.records import (
    Execution,
    Hold,
    Json,
    Key,
    Limits,
    NewExecution,
    Status,
    StepExecution,
    Wait,
    WorkflowVersion,
)
from flows.history.rows import end_of_open_steps, in_order_of_start, written
from flows.history.rules import DEFAULT_LIMIT, DEFAULT_OVERFLOW
from foundation.clock import Clock, SystemClock


@dataclass
class KeptWorkflow:
    current: str
    concurrency_limit: int
    overflow: str
    updated_at: datetime
    active: bool = True
    deployment_id: str | None = None
    rules: Json = None


@dataclass
class Kept:
    """An execution with what the records don't show."""

    execution: Execution
    """Without event and steps."""
    event: str
    steps: dict[str, StepExecution] = field(default_factory=dict)
    claimed_until: datetime | None = None
    dispatched_at: datetime | None = None
    seen_at: datetime | None = None
    waits: dict[str, Wait] = field(default_factory=dict)
    lane: str = QUEUE
    queued_at: datetime = field(kw_only=True)
    keys: Sequence[Key] = ()
    priority: float = 0.0
    has_entered: bool = False
    """It has been among those that wait for their slot."""

    @property
    def id(self) -> str:
        return self.execution.id

    @property
    def status(self) -> Status:
        return self.execution.status

    @property
    def age(self) -> tuple[datetime, str]:
        """Sorts the oldest first."""
        return self.execution.accepted_at, self.execution.id

    @property
    def place(self) -> tuple[datetime, str]:
        """Sorts by its place in its lane."""
        return self.queued_at, self.execution.id

    @property
    def is_waiting(self) -> bool:
        return self.status is Status.ACCEPTED and self.execution.admitted_at is None

    @property
    def is_gathered(self) -> bool:
        """It is not among those that wait for their slot (yet)."""
        return self.lane == ARRIVED or self.lane[:1] in ("d", "b")

    @property
    def may_overflow(self) -> bool:
        """It is among those that wait for their slot, and has never begun."""
        return self.has_entered and self.execution.started_at is None

    @property
    def has_slot(self) -> bool:
        return self.execution.admitted_at is not None and not self.status.is_final

    def is_held(self, hold: Hold) -> bool:
        return not self.status.is_final and self.execution.hold == hold

    def change(self, **values: Any) -> None:
        self.execution = replace(self.execution, **values)

    def end(self, status: Status, now: datetime, **values: Any) -> None:
        self.change(status=status, finished_at=now, owner=None, lease_until=None, parked_at=None, **values)
        self.claimed_until = None
        for wait in self.waits.values():
            if wait.ended_at is None:
                self.waits[wait.path] = replace(wait, ended_at=now)
        for step in self.steps.values():
            if step.status is Status.RUNNING:
                self.steps[step.path] = replace(step, status=end_of_open_steps(status), finished_at=now)

    def spent(self) -> float:
        """Seconds that it ran, this run up to its last sign of life included."""
        begun_at = self.execution.begun_at
        present = (self.seen_at - begun_at).total_seconds() if self.seen_at and begun_at else 0.0
        return self.execution.spent + max(present, 0.0)

    def light(self) -> Execution:
        """Without event, output, answer and steps."""
        return replace(self.ended(), output=None, answer=None)

    def ended(self) -> Execution:
        """Without event and steps."""
        waits_for = flow_control.waiting_for(self.lane, self.keys) if self.is_waiting else None
        return replace(copy.deepcopy(self.execution), waiting_for=waits_for)

    def with_event(self) -> Execution:
        return replace(self.ended(), event=from_document(self.event))

    def whole(self) -> Execution:
        waits = sorted(self.waits.values(), key=lambda wait: (wait.begun_at, wait.path))
        steps = in_order_of_start(copy.deepcopy(list(self.steps.values())))
        return replace(self.with_event(), steps=steps, waits=tuple(copy.deepcopy(waits)))


@dataclass(frozen=True)
class KeptAnswer:
    answer: Json
    by: str | None
    expires_at: datetime


@dataclass
class KeptPoll:
    state: PollState
    """Its `active` and `age` are worked out when it is shown."""
    declared_at: datetime
    claimed_until: datetime | None = None
    keys: dict[str, int] = field(default_factory=dict)
    """Key → the run that saw it last."""

    def change(self, **values: Any) -> None:
        self.state = replace(self.state, **values)


@dataclass
class KeptLane:
    since: datetime
    due: datetime | None = None


class MemoryState:
    """The dicts that the parts of a `MemoryStore` share."""

    def __init__(self, clock: Clock | None = None, limits: Limits | None = None) -> None:
        self._clock, self._limits = clock or SystemClock(), limits or Limits()
        self._workflows: dict[str, KeptWorkflow] = {}
        self._versions: dict[tuple[str, str], WorkflowVersion] = {}
        self._executions: dict[str, Kept] = {}
        self._deliveries: dict[str, tuple[str, datetime | None]] = {}
        """By dedupe key."""
        self._callers: dict[tuple[str, str], datetime] = {}
        """By execution and waiter: until when the note counts."""
        self._polls: dict[tuple[str, str], KeptPoll] = {}
        """By workflow and source."""
        self._lanes: dict[tuple[str, str], KeptLane] = {}
        """By workflow and lane."""
        self._kept_answers: dict[str, KeptAnswer] = {}
        """By address."""
        self._notices = LocalNotices()

    def _in(self, status: Status) -> list[Kept]:
        return [kept for kept in self._executions.values() if kept.status is status]

    def _newest_first(self) -> Iterable[Kept]:
        return (self._executions[execution_id] for execution_id in sorted(self._executions, reverse=True))

    def _limit(self, workflow: str) -> tuple[int, str]:
        known = self._workflows.get(workflow)
        return (known.concurrency_limit, known.overflow) if known else (DEFAULT_LIMIT, DEFAULT_OVERFLOW)

    def _room(self, workflow: str) -> int:
        """How many more of its executions may be admitted."""
        used = sum(kept.has_slot and kept.execution.workflow == workflow for kept in self._executions.values())
        return max(self._limit(workflow)[0] - used, 0)


def stored(value: Json) -> Json:
    """As a database would give it back, and nobody else's object."""
    return from_document(to_document(value))


def kept_step(step: StepExecution, limits: Limits) -> StepExecution:
    text = written(step, limits)
    return replace(
        step,
        started_at=step.started_at and step.started_at.astimezone(UTC),
        finished_at=step.finished_at and step.finished_at.astimezone(UTC),
        output=from_document(text.output),
        error=from_document(text.error),
        decision=from_document(text.decision),
    )


def kept_execution(new: NewExecution, limits: Limits) -> Kept:
    execution = Execution(
        id=new.id,
        workflow=new.workflow,
        version=new.version,
        trigger=new.trigger,
        status=Status.ACCEPTED,
        event=None,
        accepted_at=new.accepted_at.astimezone(UTC),
        flow_run_id=new.flow_run_id,
        replay_of=new.replay_of,
        parent_id=new.parent_id,
        parent_path=new.parent_path,
        depth=new.depth,
        trace=new.trace,
    )
    steps = {step.path: kept_step(step, limits) for step in new.steps}
    lane, queued_at = flow_control.place(execution.accepted_at, new.keys, new.priority)
    return Kept(
        execution,
        to_document(new.event),
        steps,
        lane=lane,
        queued_at=queued_at,
        keys=tuple(new.keys),
        priority=new.priority,
    )
