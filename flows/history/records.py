"""The history's records: what was accepted, what ran, how it ended.

Times are timezone-aware UTC. Ids are UUIDv7 strings, so their order is the order of creation. What is `Json` holds what
`json.dumps` takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

Json = Any
Rule = Literal["concurrency", "throttle", "debounce", "batch"]


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
    WAITING = "waiting"
    """For a time, a signal, a callback, an approval, a called workflow. It holds nothing meanwhile."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        return self not in (Status.ACCEPTED, Status.RUNNING, Status.WAITING)


class Trigger(StrEnum):
    WEBHOOK = "webhook"
    SCHEDULE = "schedule"
    POLL = "poll"
    MANUAL = "manual"
    CALL = "call"
    FAILURE = "failure"
    REPLAY = "replay"


class Mode(StrEnum):
    """Who starts an execution's runs."""

    STANDARD = "standard"
    """Prefect orchestrates each."""
    EXPRESS = "express"
    """A worker, at once; Prefect is told of it."""


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
    concurrency_limit: int = 10
    """How many of its executions may be admitted and not ended. 0: none is admitted."""
    overflow: str = "wait"
    """What becomes of an execution beyond the limit: `wait` or `cancel`."""


@dataclass(frozen=True)
class Key:
    """What an execution counts as under a rule of its workflow's flow control."""

    rule: Rule
    of: str
    """The rule's expression; "" where the rule is for the whole workflow."""
    value: str
    """A digest of what the expression came to for this event."""
    shown: str = field(default="", compare=False)
    """For people: `customer=42`, masked."""

    @classmethod
    def made(cls, rule: Rule, of: str, value: str, shown: str = "") -> Key:
        """The key of a value."""
        return cls(rule, of, hashlib.sha256(f"{of}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()[:24], shown)

    @property
    def lane(self) -> str:
        """Where those wait that wait for it."""
        return self.rule[0] + self.value

    @property
    def words(self) -> str:
        """`concurrency customer=42`"""
        return f"{self.rule} {self.shown}".rstrip()


@dataclass(frozen=True)
class NewExecution:
    """What is stored when an event is accepted: the event and its execution, in one transaction."""

    id: str
    workflow: str
    version: str
    trigger: Trigger
    event: Json
    """The whole event as the workflow sees it: id, body, headers, query, method, path, received_at. Or its Document."""
    accepted_at: datetime
    dedupe_keys: Sequence[str] = ()
    """What the delivery is known by, scoped to the hook by the caller: any one that is known makes a duplicate.

    Without any, the delivery has no identity and is never a duplicate.
    """
    dedupe_until: datetime | None = None
    """When the delivery is forgotten. None: never."""
    replay_of: str | None = None
    parent_id: str | None = None
    """The execution that it came of: that called it, or whose failure started it."""
    parent_path: str | None = None
    """Of an execution that was called, the step there that it answers when it ends."""
    depth: int = 0
    """How many executions called each other down to it."""
    flow_run_id: str | None = None
    """Set when Prefect made the run (a schedule, Quick run) and the execution follows it."""
    trace: str | None = None
    """The W3C `traceparent` of the span that accepted it; None when nothing is traced."""
    steps: Sequence[StepExecution] = ()
    """Steps that count as finished: what `replay --from` takes over from the first execution."""
    keys: Sequence[Key] = ()
    """For the rules of its workflow's flow control; it counts for those that it has a key for."""
    priority: float = 0.0
    """Seconds by which it is put ahead in its workflow's queue."""


@dataclass(frozen=True)
class Accepted:
    """The answer to one `NewExecution`: its own id, or the first delivery's when this one is a duplicate."""

    execution_id: str
    duplicate: bool


@dataclass(frozen=True)
class StepExecution:
    path: str
    """Where in the workflow: `notify`; in a loop `lines[3].reserve`."""
    action: str
    status: Status
    attempts: int = 1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output: Json = None
    error: Json = None
    """{code, message} or None"""
    decision: Json = None
    """What was decided when it began, and is not decided again: a switch's case, a loop's list."""


@dataclass(frozen=True)
class Hold:
    """The right to write for an execution: which process runs it, in its how-manieth run.

    Taken from `Execution.hold`. A write whose hold is not the row's any more changes nothing.
    """

    execution_id: str
    owner: str | None
    """None: nobody runs it; it is accepted, or was handed back."""
    run: int
    """`Execution.runs`"""


class Refusal(StrEnum):
    """Why an execution can't begin."""

    UNKNOWN = "unknown"
    """There is no such execution."""
    ENDED = "ended"
    HELD = "held"
    """Another process runs it, and its lease is not over."""
    FULL = "full"
    """Its workflow's limit is reached. It stays accepted, and is admitted in its turn."""
    WAITING = "waiting"
    """What it waits for has not come yet."""


class WaitKind(StrEnum):
    """What a step waits for."""

    TIME = "time"
    SIGNAL = "signal"
    CALLBACK = "callback"
    APPROVAL = "approval"
    CALL = "call"


@dataclass(frozen=True)
class NewWait:
    """What a step of an execution is going to wait for."""

    path: str
    kind: WaitKind
    address: str | None = None
    """Where an answer is sent to: `signal_address` or `step_address`. None: nothing but time ends it."""
    due_at: datetime | None = None
    """When it is over without an answer."""
    document: Json = None
    """What people are shown of it."""


@dataclass(frozen=True)
class Wait:
    """What a step waits for, or has waited for, and how that ended: by an answer, or because it became due."""

    execution_id: str
    path: str
    kind: WaitKind
    begun_at: datetime
    address: str | None = None
    due_at: datetime | None = None
    document: Json = None
    ended_at: datetime | None = None
    answered: bool = False
    answer: Json = None
    answered_by: str | None = None


class Delivery(StrEnum):
    """What became of an answer."""

    DELIVERED = "delivered"
    """A step waited for it."""
    KEPT = "kept"
    """Nobody waits for it yet; whoever does first gets it."""
    KNOWN = "known"
    """One came before; this one changed nothing."""


def signal_address(name: str) -> str:
    """Whoever waits for the signal, one for each that comes."""
    return f"signal:{name}"


def step_address(execution_id: str, path: str) -> str:
    """One step of one execution, which is answered once."""
    return f"step:{execution_id}:{path}"


def is_step_address(address: str) -> bool:
    return address.startswith("step:")


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
    answer: Json = None
    """What the sender of its webhook gets: {status, headers, body}, or {problem} when it could not be rendered."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    flow_run_id: str | None = None
    """The flow run that was made for it. An express one has none: its id is known to be its own."""
    replay_of: str | None = None
    parent_id: str | None = None
    parent_path: str | None = None
    depth: int = 0
    trace: str | None = None
    mode: Mode | None = None
    """How it was begun last; None: never."""
    recorded_at: datetime | None = None
    """Of an express one: when Prefect was told how it ended."""
    admitted_at: datetime | None = None
    """Since when it has a slot of its workflow's limit; it keeps it until it ends."""
    begun_at: datetime | None = None
    """When its present run began, by the database's clock."""
    spent: float = 0.0
    """Seconds that it ran in earlier runs; they count against its timeout."""
    runs: int = 0
    """How often it was begun; more than 1 after a crash or a wait."""
    parked_at: datetime | None = None
    """Since when it waits for something outside."""
    parked_runs: int = 0
    """`runs` when it last began to wait: the runs since then are those that may have crashed."""
    owner: str | None = None
    """The process that runs it: `host/pid`."""
    lease_until: datetime | None = None
    """Until when no other process may take it over, by the database's clock."""
    cancel_requested: Json = None
    """{by, reason} once someone asked to cancel it."""
    replayed_by: str | None = None
    """Its newest replay. Known to `execution` and `executions`."""
    waiting_for: str | None = None
    """What an accepted one waits for before it is admitted: `concurrency customer=42`."""
    steps: Sequence[StepExecution] = field(default=())
    waits: Sequence[Wait] = field(default=())
    """What its steps wait for, and what they have waited for. Known to `execution` and `begin`."""

    @property
    def shown_as(self) -> str | None:
        """The id of the flow run that it is in Prefect."""
        return self.id if self.mode is Mode.EXPRESS else self.flow_run_id

    @property
    def hold(self) -> Hold:
        """The right to write for it, as of now."""
        return Hold(self.id, self.owner, self.runs)


class Admitted(list[Execution]):
    """The executions that were admitted.

    Attributes:
        due: in how many seconds there will be something to do that no event and no end brings about; None: never.
    """

    def __init__(self, executions: Iterable[Execution] = (), due: float | None = None) -> None:
        super().__init__(executions)
        self.due = due


@dataclass(frozen=True)
class Page:
    """Executions newest first, without event, output, answer and steps. `next_cursor` is None on the last page."""

    items: Sequence[Execution]
    next_cursor: str | None
