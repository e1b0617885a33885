"""The history's interface and its records: what was accepted, what ran, how it ended.

Two stores implement it: `SqlStore` (SQLite, PostgreSQL) and `MemoryStore`, its twin for tests. Every method is one
transaction; what it wrote is durable when it returns. Times are timezone-aware UTC. Ids are UUIDv7 strings, so their
order is the order of creation. `Json` columns hold what `json.dumps` takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

Json = Any


@dataclass(frozen=True)
class Limits:
    """How much a history keeps of one document, in bytes of JSON text."""

    inline_bytes: int = 256 * 1024
    """A larger document is kept aside, once for all that are equal to it."""
    output_bytes: int = 10 * 1024 * 1024
    """A larger output, of a step or of an execution, is refused."""


class Status(StrEnum):
    """An execution's, and (without the first) a step's."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        return self not in (Status.ACCEPTED, Status.RUNNING)


class Trigger(StrEnum):
    WEBHOOK = "webhook"
    SCHEDULE = "schedule"
    POLL = "poll"
    MANUAL = "manual"
    CALL = "call"
    REPLAY = "replay"


@dataclass(frozen=True)
class WorkflowVersion:
    """One published text of a workflow. Never changes; `version` is the hash of what it says."""

    workflow: str
    version: str
    language: str
    """yaml or python"""
    source: str
    """The file's text."""
    file: str
    """Where it was published from; for messages and for Python imports beside it."""
    description: str = ""
    tags: Sequence[str] = ()
    declaration: Json = None
    """`Declaration` as plain data: what the gateway routes and answers by, without the steps."""
    created_at: datetime | None = None


@dataclass(frozen=True)
class Workflow:
    """A workflow's name, with its current version."""

    name: str
    active: bool
    current: WorkflowVersion
    deployment_id: str | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class NewExecution:
    """What is stored when an event is accepted: the event and its execution, in one transaction."""

    id: str
    workflow: str
    version: str
    trigger: Trigger
    event: Json
    """The whole event as the workflow sees it: id, body, headers, query, method, path, received_at."""
    accepted_at: datetime
    dedupe_key: str | None = None
    """Scoped to the hook by the caller. None: this delivery has no identity, it is never a duplicate."""
    dedupe_until: datetime | None = None
    """When the delivery is forgotten. None: never."""
    replay_of: str | None = None
    parent_id: str | None = None
    flow_run_id: str | None = None
    """Set when Prefect made the run (a schedule, Quick run) and the execution follows it."""
    trace: str | None = None
    """The W3C `traceparent` of the span that accepted it; None when nothing is traced."""
    steps: Sequence[StepExecution] = ()
    """Steps that count as finished: what `replay --from` takes over from the first execution."""


@dataclass(frozen=True)
class Accepted:
    """The answer to one `NewExecution`: its own id, or the first delivery's when this one is a duplicate."""

    execution_id: str
    duplicate: bool


@dataclass(frozen=True)
class StepExecution:
    step_id: str
    action: str
    status: Status
    attempts: int = 1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output: Json = None
    error: Json = None
    """{code, message} or None"""


@dataclass(frozen=True)
class Execution:
    id: str
    workflow: str
    version: str
    trigger: Trigger
    status: Status
    event: Json
    accepted_at: datetime
    output: Json = None
    error: Json = None
    """{code, message, step} or None"""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    flow_run_id: str | None = None
    replay_of: str | None = None
    parent_id: str | None = None
    trace: str | None = None
    runs: int = 0
    """How often it was begun; more than 1 after a crash."""
    owner: str | None = None
    """The process that runs it: `host/pid`."""
    lease_until: datetime | None = None
    cancel_requested: Json = None
    """{by, reason} once someone asked to cancel it."""
    replayed_by: str | None = None
    """Its newest replay. Known to `execution` and `executions`."""
    steps: Sequence[StepExecution] = field(default=())


@dataclass(frozen=True)
class Page:
    """Executions newest first, without event, output and steps. `next_cursor` is None on the last page."""

    items: Sequence[Execution]
    next_cursor: str | None


class HistoryStore(Protocol):
    async def open(self) -> None:
        """Connects. Raises StorageUnavailable, or ConfigurationError when the schema is not current."""
        ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Raises StorageUnavailable."""
        ...

    # Workflows

    async def publish(self, version: WorkflowVersion) -> bool:
        """Stores the version (if new) and makes it the current one. True when it was not current before.

        A new workflow starts active.
        """
        ...

    async def workflows(self) -> Sequence[Workflow]: ...

    async def workflow(self, name: str) -> Workflow | None: ...

    async def version(self, workflow: str, version: str) -> WorkflowVersion | None: ...

    async def set_active(self, workflow: str, active: bool) -> bool:
        """False when there is no such workflow."""
        ...

    async def set_deployment(self, workflow: str, deployment_id: str) -> None: ...

    # The way in: gateway and dispatcher

    async def accept(self, new: Sequence[NewExecution]) -> Sequence[Accepted]:
        """Stores all, in one transaction, and answers each, in order.

        A known dedupe key (also within `new`) makes a duplicate, which stores nothing; a key whose time is over is
        forgotten. An id that is stored already is a duplicate of itself, so accepting again is safe.
        """
        ...

    async def backlog(self) -> Mapping[str, int]:
        """How many executions are accepted and not begun, by workflow."""
        ...

    async def oldest_accepted(self) -> datetime | None: ...

    async def claim(self, *, limit: int, now: datetime, until: datetime) -> Sequence[Execution]:
        """Accepted executions without a flow run that nobody else claims, oldest first, claimed until `until`.

        With their events, without steps.
        """
        ...

    async def dispatched(self, flow_runs: Mapping[str, str]) -> None:
        """execution id → flow run id, for each that Prefect took.

        An execution that is cancelled or begun keeps its status; one that has a flow run keeps that.
        """
        ...

    async def release(self, execution_ids: Sequence[str]) -> None:
        """Gives a claim back: the dispatcher may take it at once."""
        ...

    # Running: whoever runs the flow

    async def begin(
        self, execution_id: str, *, flow_run_id: str | None, owner: str, now: datetime, lease_until: datetime
    ) -> Execution | None:
        """Accepted or running → running, `runs` + 1; the execution with its steps (event included).

        None when it may not run: it is final, or unknown. A cancel that was requested is in `cancel_requested`.
        """
        ...

    async def save_step(self, execution_id: str, step: StepExecution) -> None:
        """Inserts or replaces the step's row (by execution and step id).

        Raises:
            NotFound: the execution is unknown.
            TooLarge: the step's output is.
        """
        ...

    async def finish(
        self, execution_id: str, status: Status, *, now: datetime, output: Json = None, error: Json = None
    ) -> bool:
        """The first end wins: False when it already had one, or is unknown.

        Steps still running end as failed or timed_out with such an execution, else as cancelled.
        Raises TooLarge when the output is.
        """
        ...

    async def renew(self, execution_ids: Sequence[str], *, owner: str, until: datetime) -> Sequence[str]:
        """Those that `owner` still runs, with their lease renewed; one that is missing has moved on."""
        ...

    async def requeue(self, execution_id: str, *, owner: str | None) -> bool:
        """Running → accepted with its flow run kept, if `owner` still runs it; else False.

        Its steps' rows stay.
        """
        ...

    async def expired(self, now: datetime) -> Sequence[Execution]:
        """Running executions whose lease is over, without event and steps."""
        ...

    async def owned(self, owner_prefix: str) -> Sequence[Execution]:
        """Running executions whose owner starts with this, without event and steps."""
        ...

    async def stale_dispatches(self, before: datetime, limit: int) -> Sequence[Execution]:
        """Accepted executions handed to Prefect before then and not begun, oldest first, without event and steps."""
        ...

    async def undispatch(self, execution_id: str) -> None:
        """Its flow run is lost: forget it, so that the dispatcher hands it over again."""
        ...

    async def request_cancel(self, execution_id: str, *, by: str, reason: str, now: datetime) -> Execution | None:
        """Accepted and not dispatched → cancelled at once; else notes the (first) request for whoever runs it.

        The execution as it is then, without event and steps; None when unknown.
        """
        ...

    async def cancel_requests(self, execution_ids: Sequence[str]) -> Mapping[str, Json]:
        """{by, reason} for each of them that someone asked to cancel."""
        ...

    # Reading

    async def execution(self, execution_id: str) -> Execution | None:
        """With its event and steps, in the order they started."""
        ...

    async def execution_of_flow_run(self, flow_run_id: str) -> Execution | None: ...

    async def finished(self, execution_ids: Sequence[str]) -> Mapping[str, Execution]:
        """Those of them that have ended, without event and steps: what callers who wait for a result poll."""
        ...

    async def executions(
        self,
        *,
        workflow: str | None = None,
        status: Status | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page: ...

    async def counts(self) -> Mapping[Status, int]: ...

    # Keeping it small

    async def prune(self, *, before: datetime, limit: int) -> int:
        """Deletes at most `limit` executions that ended before then, oldest first. How many went.

        Their events and steps go too, and large documents that nothing else refers to.
        """
        ...

    async def end_of_newest(self, count: int) -> datetime | None:
        """When the last of the `count` executions ended that ended most recently; None when there are no more."""
        ...

    async def forget_deliveries(self, *, now: datetime, limit: int) -> int:
        """Deletes at most `limit` dedupe keys whose time is over. How many went."""
        ...

    async def compact(self) -> bool:
        """Gives some of the space that pruning freed back to the disk. True when there is more to give back.

        PostgreSQL does that by itself.
        """
        ...
