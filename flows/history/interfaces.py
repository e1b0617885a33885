"""What a history does, split by who calls it.

Two stores do all of it: `SqlStore` (SQLite, PostgreSQL) and `MemoryStore`, its twin for tests. Every method is one
transaction; what it wrote is durable when it returns. Any of them raises StorageUnavailable when the database does not
answer.

Times that decide who may write (leases, claims, how long a run took) are the database's own, read inside the
transaction and after any wait for locks: the clocks of the machines that share a history need not agree. Durations
(`lease`, `claim`, `older_than`) are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from blocks.token_state import TokenStore
from flows.history.notices import Topic
from flows.history.polled import PollHold, PollState
from flows.history.records import (
    Accepted,
    Admitted,
    Delivery,
    Execution,
    Hold,
    Json,
    Mode,
    NewExecution,
    NewWait,
    Page,
    Refusal,
    Status,
    StepExecution,
    Wait,
    WaitKind,
    Workflow,
    WorkflowVersion,
)


class Catalogue(Protocol):
    """The published workflows: for deploying, the command line and the gateway's routes."""

    async def publish(self, version: WorkflowVersion) -> bool:
        """Stores the version (if new) and makes it the current one. True when it was not current before.

        A new workflow starts active. Its limit and overflow become what the version declares.
        """
        ...

    async def workflows(self) -> Sequence[Workflow]: ...

    async def workflow(self, name: str) -> Workflow | None: ...

    async def version(self, workflow: str, version: str) -> WorkflowVersion | None: ...

    async def versions(self, workflow: str) -> Sequence[WorkflowVersion]:
        """All that are kept, the newest first: by when each was published for the first time."""
        ...

    async def prune_versions(self, *, before: datetime, keep: int) -> int:
        """Deletes versions that were first published before then; how many went.

        Kept are the current version and the `keep` newest of each workflow, and what an execution ran or is to run on.
        """
        ...

    async def set_active(self, workflow: str, active: bool) -> bool:
        """False when there is no such workflow."""
        ...

    async def set_deployment(self, workflow: str, deployment_id: str | None) -> None: ...

    async def set_limit(self, workflow: str, limit: int) -> None:
        """How many of its executions run at once, until another version is published. 0 admits nothing.

        A lower limit takes nothing back: what is admitted already goes on.
        """
        ...


class Inbox(Protocol):
    """The way in: for the gateway."""

    async def accept(self, new: Sequence[NewExecution]) -> Sequence[Accepted]:
        """Stores all, in one transaction, and answers each, in order.

        A dedupe key that is known (also within `new`) and whose time is not over makes a duplicate, which stores
        nothing; otherwise all the keys of a delivery are its own. An id that is stored already is a duplicate of
        itself, so accepting again is safe.
        """
        ...

    async def backlog(self) -> Mapping[str, int]:
        """How many executions are accepted and not begun, by workflow."""
        ...

    async def oldest_accepted(self) -> datetime | None:
        """When the oldest of them, which has the first id, was accepted."""
        ...


class Admission(Protocol):
    """Which accepted executions may start: for whoever hands them over to be run."""

    async def admit(self, *, limit: int, claim: float, modes: Collection[Mode | None] = (*Mode, None)) -> Admitted:
        """Wakes what is due, admits what may start now, and claims up to `limit` admitted executions for this caller.

        A workflow has at most `concurrency_limit` executions that are admitted and not ended, whatever they do
        meanwhile (they run, wait for Prefect, were handed back). They are counted in this transaction, with the
        workflow's row locked. Within a workflow the oldest go first; workflows take turns, so that no long queue
        starves another.
        A workflow that was never published has the default limit.

        Returned, without steps, are those admitted now, and those admitted before that have no flow run and whose claim
        is over (whoever claimed them died). One that Prefect made has a flow run already, which only needs to be woken;
        it is returned once. Their events are text (`Document`), and None where they are large: what a call reads is
        bounded, and nobody parses in a transaction.

        Where the workflow's overflow is `cancel`, what waits beyond the limit ends as cancelled.

        An execution with keys is admitted when each of them lets it, too: no more have a slot than the limit of its key
        allows, and its throttle gives it a turn. Before that, those with a key for `debounce` or `batch` are gathered
        until their time has come: one is left, with the last event or with all of them, and the others end as skipped.
        What an overflow of `cancel`, `replace` or `latest` ends, ends when the next execution with its key comes. One
        whose key blocks it holds up no other.

        What a call costs does not grow with the queues.

        Args:
            limit: how many are returned at most.
            claim: how long they are this caller's.
            modes: of workflows that say one of these; None stands for those that do not say.
        """
        ...

    async def admit_and_begin(
        self, *, limit: int, owner: str, lease: float, modes: Collection[Mode | None] = (Mode.EXPRESS,)
    ) -> Admitted:
        """Admits as `admit`, and begins what it admits as `Running.begin`, all in one transaction: express.

        Those that Prefect made a run for are only admitted, and returned accepted: that run needs to be woken. The
        others are running, and whole, with their event and steps.
        """
        ...

    async def dispatched(self, flow_runs: Mapping[str, str]) -> None:
        """execution id → flow run id, for each that Prefect took.

        An execution that is cancelled or begun keeps its status; one that has a flow run keeps that.
        """
        ...

    async def wake(self, *, limit: int) -> int:
        """Ends up to `limit` waits that are due; how many. Their executions are accepted again, at the front.

        `admit` does so, too.
        """
        ...

    async def release(self, execution_ids: Sequence[str]) -> None:
        """Gives a claim back: the next call of `admit` may return it at once."""
        ...


class Running(Protocol):
    """One execution from its beginning to its end: for whoever runs it.

    Each write says by its `Hold` which run of which process it belongs to. A hold that is not the row's any more
    (another process took the execution over, or it has ended) writes nothing: False.
    """

    async def begin(
        self, execution_id: str, *, flow_run_id: str | None, owner: str, lease: float
    ) -> Execution | Refusal:
        """Accepted → running; or running → running, when its lease is over or `owner` itself has it. `runs` + 1.

        One that is not admitted yet is admitted here if its workflow has room; otherwise it stays accepted (FULL; its
        flow run is kept even then) or, where overflow is `cancel`, ends (ENDED). One that waits is refused (WAITING).

        The execution is returned whole, with its event and steps. A cancel that was requested is in `cancel_requested`.
        """
        ...

    def written(self, step: StepExecution) -> StepExecution:
        """The step with its documents as text, as it is going to be kept.

        Raises:
            TooLarge: its output or decision is.
        """
        ...

    async def save_steps(self, hold: Hold, steps: Sequence[StepExecution]) -> bool:
        """Inserts or replaces the steps' rows (by execution and path), together.

        Raises:
            TooLarge: the output or decision of one of them is.
        """
        ...

    async def finish(
        self,
        hold: Hold,
        status: Status,
        *,
        steps: Sequence[StepExecution] = (),
        output: Json = None,
        error: Json = None,
        answer: Json = None,
    ) -> bool:
        """Saves these steps and ends it; the first end wins. The hold of an accepted execution ends one that nobody
        runs.

        Steps still running end as failed or timed_out with such an execution, else as cancelled. A step that called it
        is answered: {execution_id, status, output, error}. Of a failed or timed out one, workflows that want to know
        (by their failure triggers) have an execution of their own when this returns; see `flows.history.failed`.

        Raises:
            TooLarge: the output or the answer is.
        """
        ...

    async def park(self, hold: Hold, waits: Sequence[NewWait], *, steps: Sequence[StepExecution] = ()) -> bool:
        """Saves these steps; running → waiting: it gives its slot and its owner back until one of the waits ends.

        One of them may have ended already (its answer was kept, or came while others still ran), or a cancel may have
        been requested: then it is accepted at once. A wait that is known keeps its beginning and when it is due.
        """
        ...

    async def renew(self, holds: Sequence[Hold], *, lease: float) -> Mapping[str, Json]:
        """Renews the leases of those that are still held: execution id → its cancel request ({by, reason}) or None.

        One that is missing has moved on.
        """
        ...

    async def requeue(self, hold: Hold) -> bool:
        """Running → accepted. It keeps its slot, its flow run and its steps.

        `spent` grows by the time from the run's beginning to its last sign of life, which is the last `renew`: so
        whoever hands back its own execution renews just before.
        """
        ...


class Waits(Protocol):
    """Answers from outside to the steps that wait for them: signals, callbacks, decisions, called workflows."""

    async def answer(self, address: str, answer: Json, *, by: str | None, keep: float) -> Delivery:
        """Gives the answer to the step that waits at this address, of several to the one that began first.

        Its execution is accepted again, in the same transaction. With nobody waiting yet, the first answer is kept for
        `keep` seconds. A step is answered once: whatever else comes to a `step_address` is KNOWN.
        """
        ...

    async def wait_at(self, address: str) -> Wait | None:
        """The newest wait with this address, open ones first."""
        ...

    async def open_waits(self, kind: WaitKind, *, limit: int) -> Sequence[Wait]:
        """Those that began first come first."""
        ...


class Takeover(Protocol):
    """What the dead left behind: for bringing history and Prefect together. All that is returned is light: without
    event, output, answer and steps."""

    async def expired(self, limit: int = 200) -> Sequence[Execution]:
        """Running executions whose lease is over, those first that are over longest."""
        ...

    async def owned(self, owner_prefix: str) -> Sequence[Execution]:
        """Running executions whose owner starts with this."""
        ...

    async def stale_dispatches(self, *, older_than: float, limit: int) -> Sequence[Execution]:
        """Admitted executions with a flow run that were handed over longer ago and have not begun, oldest first."""
        ...

    async def undispatch(self, execution_id: str) -> None:
        """An accepted execution's flow run is lost: forget it, so that it is handed over again. It keeps its slot."""
        ...

    async def executions_of_flow_runs(self, flow_run_ids: Sequence[str]) -> Mapping[str, Execution]:
        """Flow run id → its execution; the newest where a flow run has several."""
        ...

    async def requeue(self, hold: Hold) -> bool:
        """As in `Running`."""
        ...

    async def finish(
        self, hold: Hold, status: Status, *, output: Json = None, error: Json = None, answer: Json = None
    ) -> bool:
        """As in `Running`."""
        ...


class Recording(Protocol):
    """Of which express executions Prefect has been told: for the workers."""

    async def unrecorded(self, *, limit: int) -> Sequence[Execution]:
        """Those that have ended and are not noted as recorded, the first ends first; whole."""
        ...

    async def note_recorded(self, execution_ids: Sequence[str], *, at: datetime) -> None:
        """Prefect has been told how they ended. One that has not ended is not noted."""
        ...

    async def last_recorded(self) -> datetime | None:
        """The latest `at`."""
        ...

    async def forget_recorded(self, *, after: datetime | None, limit: int) -> int:
        """Prefect knows nothing of what was noted after this (None: of anything); up to `limit` at once, how many."""
        ...


class Polls(Protocol):
    """What poll triggers have seen, and whose turn it is to look: for the workers.

    The polls of a workflow are those of its current version: publishing declares new ones, which are due at once, and
    forgets those that are gone. A write whose hold is not the poll's any more does nothing: False.
    """

    async def claim_poll(self, *, claim: float) -> PollState | None:
        """The poll that is due longest, which is this caller's for `claim` seconds; None: none is due and free.

        Those of workflows that are not active are never due.
        """
        ...

    async def known_keys(self, hold: PollHold, keys: Sequence[str]) -> frozenset[str]:
        """Those of these keys that an earlier poll has seen. So it stays while the hold is good."""
        ...

    async def finish_poll(
        self, hold: PollHold, *, keys: Sequence[str], new: Sequence[NewExecution], cursor: Json
    ) -> bool:
        """Accepts what is new and notes all keys as seen, together; the next poll is due after the poll's interval.

        Beyond `keys` the `polled.KEPT_KEYS` that were seen last are remembered.
        """
        ...

    async def fail_poll(self, hold: PollHold, *, error: Json, retry: float) -> bool:
        """Counts a failure; what was seen stays. It is due again in `retry` seconds."""
        ...

    async def release_poll(self, hold: PollHold) -> None:
        """Gives a claim back: the poll is due as it was."""
        ...

    async def polls(self, workflow: str | None = None) -> Sequence[PollState]:
        """All of them, or a workflow's, by workflow and source."""
        ...


class Archive(Protocol):
    """Looking at executions, cancelling them, deleting old ones: for the API, the command line and retention."""

    async def execution(self, execution_id: str) -> Execution | None:
        """With its event and steps, in the order they started."""
        ...

    async def execution_of_flow_run(self, flow_run_id: str) -> Execution | None: ...

    async def version_of(self, execution_id: str) -> str | None:
        """The version that it is pinned to; None when it is unknown."""
        ...

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
    ) -> Page:
        """The newest first, by their ids.

        Args:
            since: accepted then or later.
            cursor: the last page's.
        """
        ...

    async def counts(self, *, ended: bool = True) -> Mapping[Status, int]:
        """How many executions there are of each status; without those that have `ended`, which takes no longer in a
        long history."""
        ...

    async def request_cancel(self, execution_id: str, *, by: str, reason: str) -> Execution | None:
        """Notes the (first) request for whoever runs it. What waits, or is accepted without a flow run, ends at once.

        The execution as it is then, without event and steps; None when unknown.
        """
        ...

    async def prune(self, *, before: datetime, limit: int) -> int:
        """Deletes at most `limit` executions that ended before then, oldest first. How many went.

        Their events and steps go too, and large documents that nothing else refers to.
        """
        ...

    async def end_of_newest(self, count: int) -> datetime | None:
        """When the last of the `count` executions ended that ended most recently; None when there are no more."""
        ...

    async def forget_deliveries(self, *, limit: int) -> int:
        """Deletes at most `limit` dedupe keys whose time is over; such notes on callers, answers and throttles, too.

        How many keys went.
        """
        ...

    async def compact(self) -> bool:
        """Gives some of the space that pruning freed back to the disk. True when there is more to give back.

        PostgreSQL does that by itself.
        """
        ...


class Callers(Protocol):
    """Who waits for an execution's end: for gateways, of which several may wait for the same one."""

    async def note_caller(self, execution_id: str, waiter: str, *, seconds: float) -> None:
        """Notes that `waiter` waits, for so many seconds of the database's time. A second note replaces its first."""
        ...

    async def forget_caller(self, execution_id: str, waiter: str) -> bool:
        """Takes the waiter's note back. True when nobody else has a note whose time is not over."""
        ...


class Notices(Protocol):
    """What processes that share a history tell each other, so that none has to look all the time: for all of them.

    Best effort: a notice may come late, twice or not at all. Both are for the event loop of who opened the store.
    """

    def announce(self, topic: Topic, text: str = "") -> None:
        """Tells every process that listens, this one too, of what is durable already.

        It never blocks and never raises. What is announced faster than it can be sent is sent once. A text is for an
        id: one of more than 200 characters, or of others than printable ASCII, is left out.
        """
        ...

    def listening(self, topic: Topic, callback: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        """Calls back with the text of every notice of the topic, in this event loop.

        An empty text stands for any: notices may have been missed, so the listener is to look at everything.
        """
        ...


class HistoryStore(
    Catalogue,
    Inbox,
    Admission,
    Running,
    Waits,
    Takeover,
    Recording,
    Polls,
    Callers,
    TokenStore,
    Archive,
    Notices,
    Protocol,
):
    async def open(self) -> None:
        """Connects. Raises StorageUnavailable, or ConfigurationError when the schema is not current."""
        ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Raises StorageUnavailable."""
        ...
