"""The history in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from blocks.token_state import TokenFailure, TokenHold, TokenState
from flows.history import (
    admission,
    archive,
    callers,
    catalogue,
    migrations,
    polls,
    reads,
    recording,
    running,
    takeover,
    tokens,
    waits,
)
from flows.history.arrivals import Arrival, Arrivals, accept
from flows.history.database import LOCK_WAIT, connect, database_url, sqlite_file, transaction
from flows.history.database_time import DatabaseTime
from flows.history.documents import document_or_none, limited_document
from flows.history.group_commit import GroupCommit
from flows.history.models import executions
from flows.history.notices import LocalNotices, Topic
from flows.history.payloads import LargeDocuments
from flows.history.polled import PollHold, PollState
from flows.history.postgres_notices import PostgresNotices
from flows.history.records import (
    Accepted,
    Admitted,
    Delivery,
    Execution,
    Hold,
    Json,
    Limits,
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
from flows.history.rows import checked_limit, require_end, step_row, written
from flows.history.socket_notices import SocketNotices
from flows.history.sqlite import give_back
from foundation.clock import Clock, SystemClock

R = TypeVar("R")

_READERS = 4
_GIVEN_BACK_AT_ONCE = 1_000  # pages of 4 KiB


class SqlStore:
    """`HistoryStore` over `sqlite:///path` or `postgresql://…`, for any number of processes at once.

    All writes of a process go through one connection and share commits; reads have connections of their own. A
    connection that broke is replaced by the next call.

    Args:
        clock: this machine's, for times that decide nothing between processes.
        ui_url: Prefect's UI, for the links in the events of failure triggers.
        lock_wait: seconds a write waits for other processes before it raises StorageUnavailable.
        database_clock: for tests, in place of PostgreSQL's own.
    Raises:
        ConfigurationError: the URL is of another database.
    """

    def __init__(
        self,
        url: str,
        clock: Clock | None = None,
        limits: Limits | None = None,
        *,
        ui_url: str | None = None,
        lock_wait: float = LOCK_WAIT,
        database_clock: Clock | None = None,
    ) -> None:
        self._url = database_url(url)
        self._clock, self._limits = clock or SystemClock(), limits or Limits()
        self._time = DatabaseTime(self._clock, database_clock)
        self._lock_wait, self._ui_url = lock_wait, ui_url
        self._reader = connect(self._url, connections=_READERS, writes=False, lock_wait=lock_wait)
        self._writer = connect(self._url, connections=1, writes=True, lock_wait=lock_wait)
        self._group = GroupCommit(partial(transaction, self._writer, lock_wait=lock_wait))
        file = sqlite_file(self._url)
        self._notices: LocalNotices = SocketNotices(file) if file else PostgresNotices(self._url)

    async def open(self) -> None:
        await migrations.check(self._url.render_as_string(hide_password=False))

    async def close(self) -> None:
        await self._group.flush()
        await self._notices.close()
        await self._writer.close()
        await self._reader.close()

    async def ping(self) -> None:
        await self._read(lambda connection: connection.execute(select(1)))

    async def _read(self, query: Callable[[Connection], R]) -> R:
        return await transaction(self._reader, query, lock_wait=self._lock_wait)

    async def _write(self, change: Callable[[Connection], R]) -> R:
        result: R = await self._group.submit(_each, change)
        return result

    # Catalogue

    async def publish(self, version: WorkflowVersion) -> bool:
        return await self._write(partial(catalogue.publish, version=version, now=self._clock.now(), time=self._time))

    async def workflows(self) -> Sequence[Workflow]:
        return await self._read(catalogue.list_workflows)

    async def workflow(self, name: str) -> Workflow | None:
        return await self._read(partial(catalogue.workflow, name=name))

    async def version(self, workflow: str, version: str) -> WorkflowVersion | None:
        return await self._read(partial(catalogue.version, workflow=workflow, version=version))

    async def versions(self, workflow: str) -> Sequence[WorkflowVersion]:
        return await self._read(partial(catalogue.versions, workflow=workflow))

    async def prune_versions(self, *, before: datetime, keep: int) -> int:
        unneeded = await self._read(partial(catalogue.unneeded_versions, before=before, keep=keep))
        return await self._write(partial(catalogue.delete_versions, unneeded=unneeded)) if unneeded else 0

    async def set_active(self, workflow: str, active: bool) -> bool:
        return await self._change_workflow(workflow, active=active)

    async def set_deployment(self, workflow: str, deployment_id: str | None) -> None:
        await self._change_workflow(workflow, deployment_id=deployment_id)

    async def set_limit(self, workflow: str, limit: int) -> None:
        await self._change_workflow(workflow, concurrency_limit=checked_limit(limit))

    async def _change_workflow(self, name: str, **values: Any) -> bool:
        changed = values | {"updated_at": self._clock.now()}
        return await self._write(partial(catalogue.change, name=name, values=changed))

    # Inbox

    async def accept(self, new: Sequence[NewExecution]) -> Sequence[Accepted]:
        if not new:
            return []
        arrivals = Arrivals(self._clock.now(), [Arrival.of(one, self._limits) for one in new])
        return await self._group.submit(accept, arrivals)

    async def backlog(self) -> Mapping[str, int]:
        return await self._read(reads.backlog)

    async def oldest_accepted(self) -> datetime | None:
        return await self._read(reads.oldest_accepted)

    # Admission

    async def admit(self, *, limit: int, claim: float, modes: Collection[Mode | None] = (*Mode, None)) -> Admitted:
        return await self._write(
            partial(admission.admit, limit=limit, claim=claim, modes=frozenset(modes), time=self._time)
        )

    async def admit_and_begin(
        self, *, limit: int, owner: str, lease: float, modes: Collection[Mode | None] = (Mode.EXPRESS,)
    ) -> Admitted:
        change = partial(admission.admit_and_begin, owner=owner, lease=lease, modes=frozenset(modes), time=self._time)
        return await self._write(partial(change, limit=limit))

    async def dispatched(self, flow_runs: Mapping[str, str]) -> None:
        await self._write(partial(admission.dispatched, flow_runs=dict(flow_runs), time=self._time))

    async def wake(self, *, limit: int) -> int:
        return await self._write(partial(waits.wake, limit=limit, time=self._time))

    async def release(self, execution_ids: Sequence[str]) -> None:
        await self._write(partial(admission.release, execution_ids=list(execution_ids)))

    # Running

    async def begin(
        self, execution_id: str, *, flow_run_id: str | None, owner: str, lease: float
    ) -> Execution | Refusal:
        return await self._write(
            partial(
                running.begin,
                execution_id=execution_id,
                flow_run_id=flow_run_id,
                owner=owner,
                lease=lease,
                time=self._time,
            )
        )

    def written(self, step: StepExecution) -> StepExecution:
        return written(step, self._limits)

    async def save_steps(self, hold: Hold, steps: Sequence[StepExecution]) -> bool:
        return await self._group.submit(running.save_steps, self._save(hold, steps))

    def _save(self, hold: Hold, steps: Sequence[StepExecution]) -> running.Save:
        large = LargeDocuments(hold.execution_id, self._limits.inline_bytes)
        rows = [step_row(hold.execution_id, step, self._limits, large.place) for step in steps]
        return running.Save(hold, rows, large)

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
        require_end(status)
        save = self._save(hold, steps)
        large = save.large
        end = {
            "status": status.value,
            "output": large.place(limited_document(output, self._limits)),
            "error": document_or_none(error),
            "answer": large.place(limited_document(answer, self._limits, "answer")),
        }
        return await self._write(
            partial(
                running.finish,
                save=save,
                end=end,
                time=self._time,
                limits=self._limits,
                ui_url=self._ui_url,
            )
        )

    async def renew(self, holds: Sequence[Hold], *, lease: float) -> Mapping[str, Json]:
        return await self._write(partial(running.renew, holds=list(holds), lease=lease, time=self._time))

    async def park(self, hold: Hold, waits: Sequence[NewWait], *, steps: Sequence[StepExecution] = ()) -> bool:
        change = partial(running.park, save=self._save(hold, steps), new=list(waits), time=self._time)
        return await self._write(change)

    async def requeue(self, hold: Hold) -> bool:
        return await self._write(partial(running.requeue, hold=hold, time=self._time))

    # Waits

    async def answer(self, address: str, answer: Json, *, by: str | None, keep: float) -> Delivery:
        change = partial(waits.answer, address=address, answer=answer, by=by, keep=keep, time=self._time)
        return await self._write(change)

    async def wait_at(self, address: str) -> Wait | None:
        return await self._read(partial(waits.wait_at, address=address))

    async def open_waits(self, kind: WaitKind, *, limit: int) -> Sequence[Wait]:
        return await self._read(partial(waits.open_waits, kind=kind, limit=limit))

    # Takeover

    async def expired(self, limit: int = 200) -> Sequence[Execution]:
        return await self._read(partial(takeover.expired, limit=limit, time=self._time))

    async def owned(self, owner_prefix: str) -> Sequence[Execution]:
        return await self._read(partial(takeover.owned, owner_prefix=owner_prefix))

    async def stale_dispatches(self, *, older_than: float, limit: int) -> Sequence[Execution]:
        return await self._read(partial(takeover.stale_dispatches, older_than=older_than, limit=limit, time=self._time))

    async def undispatch(self, execution_id: str) -> None:
        await self._write(partial(takeover.undispatch, execution_id=execution_id))

    async def executions_of_flow_runs(self, flow_run_ids: Sequence[str]) -> Mapping[str, Execution]:
        return await self._read(partial(takeover.executions_of_flow_runs, flow_run_ids=list(flow_run_ids)))

    # Recording

    async def unrecorded(self, *, limit: int) -> Sequence[Execution]:
        return await self._read(partial(recording.unrecorded, limit=limit))

    async def note_recorded(self, execution_ids: Sequence[str], *, at: datetime) -> None:
        await self._write(partial(recording.note_recorded, execution_ids=list(execution_ids), at=at))

    async def last_recorded(self) -> datetime | None:
        return await self._read(recording.last_recorded)

    async def forget_recorded(self, *, after: datetime | None, limit: int) -> int:
        return await self._write(partial(recording.forget_recorded, after=after, limit=limit))

    # Polls

    async def claim_poll(self, *, claim: float) -> PollState | None:
        if not await self._read(partial(polls.is_any_due, time=self._time)):  # which locks nobody out
            return None
        return await self._write(partial(polls.claim, seconds=claim, time=self._time))

    async def known_keys(self, hold: PollHold, keys: Sequence[str]) -> frozenset[str]:
        return await self._read(partial(polls.known_keys, workflow=hold.workflow, source=hold.source, keys=list(keys)))

    async def finish_poll(
        self, hold: PollHold, *, keys: Sequence[str], new: Sequence[NewExecution], cursor: Json
    ) -> bool:
        arrivals = [Arrival.of(one, self._limits) for one in new]
        found = polls.Found(hold, list(keys), arrivals, document_or_none(cursor))
        return await self._write(partial(polls.finish, found=found, time=self._time))

    async def fail_poll(self, hold: PollHold, *, error: Json, retry: float) -> bool:
        failure = document_or_none(error)
        return await self._write(partial(polls.fail, hold=hold, error=failure, retry=retry, time=self._time))

    async def release_poll(self, hold: PollHold) -> None:
        await self._write(partial(polls.release, hold=hold))

    async def polls(self, workflow: str | None = None) -> Sequence[PollState]:
        return await self._read(partial(polls.of_workflow, workflow=workflow, time=self._time))

    # Callers

    async def note_caller(self, execution_id: str, waiter: str, *, seconds: float) -> None:
        change = partial(callers.note, execution_id=execution_id, waiter=waiter, seconds=seconds, time=self._time)
        await self._write(change)

    async def forget_caller(self, execution_id: str, waiter: str) -> bool:
        return await self._write(partial(callers.forget, execution_id=execution_id, waiter=waiter, time=self._time))

    # Notices

    def announce(self, topic: Topic, text: str = "") -> None:
        self._notices.announce(topic, text)

    def listening(self, topic: Topic, callback: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        return self._notices.listening(topic, callback)

    # Tokens

    async def token(self, credential: str, type: str) -> TokenState | None:
        return await self._read(partial(tokens.state, credential=credential, slug=type, time=self._time))

    async def tokens(self) -> Sequence[TokenState]:
        return await self._read(partial(tokens.states, time=self._time))

    async def claim_token(self, credential: str, type: str, *, claim: float) -> TokenState | None:
        return await self._write(
            partial(tokens.claim, credential=credential, slug=type, seconds=claim, time=self._time)
        )

    async def store_token(self, hold: TokenHold, sealed: str, *, expires_in: float | None) -> bool:
        return await self._write(
            partial(tokens.store, hold=hold, sealed=sealed, expires_in=expires_in, time=self._time)
        )

    async def fail_token(self, hold: TokenHold, failure: TokenFailure, *, retry: float) -> bool:
        return await self._write(partial(tokens.fail, hold=hold, failure=failure, retry=retry, time=self._time))

    async def release_token(self, hold: TokenHold) -> None:
        await self._write(partial(tokens.release, hold=hold))

    async def begin_connecting(self, credential: str, type: str, nonce: str) -> None:
        await self._write(partial(tokens.begin_connecting, credential=credential, slug=type, nonce=nonce))

    async def end_connecting(self, credential: str, type: str, nonce: str) -> bool:
        return await self._write(partial(tokens.end_connecting, credential=credential, slug=type, nonce=nonce))

    async def connect_token(
        self, credential: str, type: str, sealed: str, *, expires_in: float | None, by: str | None
    ) -> None:
        change = partial(
            tokens.connect,
            credential=credential,
            slug=type,
            sealed=sealed,
            expires_in=expires_in,
            by=by,
            time=self._time,
        )
        await self._write(change)

    async def reseal_token(self, credential: str, type: str, *, before: str, after: str) -> bool:
        return await self._write(partial(tokens.reseal, credential=credential, slug=type, before=before, after=after))

    async def forget_token(self, credential: str, type: str) -> None:
        await self._write(partial(tokens.forget, credential=credential, slug=type))

    # Archive

    async def execution(self, execution_id: str) -> Execution | None:
        return await self._read(partial(reads.execution, condition=executions.c.id == execution_id))

    async def execution_of_flow_run(self, flow_run_id: str) -> Execution | None:
        return await self._read(partial(reads.of_flow_run, flow_run_id=flow_run_id))

    async def version_of(self, execution_id: str) -> str | None:
        query = select(executions.c.version).where(executions.c.id == execution_id)
        return await self._read(lambda connection: connection.execute(query).scalar())

    async def finished(self, execution_ids: Sequence[str]) -> Mapping[str, Execution]:
        return await self._read(partial(reads.finished, execution_ids=list(execution_ids)))

    async def executions(
        self,
        *,
        workflow: str | None = None,
        status: Status | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        return await self._read(
            partial(reads.page, workflow=workflow, status=status, since=since, cursor=cursor, limit=limit)
        )

    async def counts(self, *, ended: bool = True) -> Mapping[Status, int]:
        return await self._read(partial(reads.counts, ended=ended))

    async def request_cancel(self, execution_id: str, *, by: str, reason: str) -> Execution | None:
        request = {"by": by, "reason": reason}
        return await self._write(
            partial(archive.request_cancel, execution_id=execution_id, request=request, time=self._time)
        )

    async def prune(self, *, before: datetime, limit: int) -> int:
        return await self._write(partial(archive.prune, before=before, limit=limit))

    async def end_of_newest(self, count: int) -> datetime | None:
        return await self._read(partial(reads.end_of_newest, count=count))

    async def forget_deliveries(self, *, limit: int) -> int:
        return await self._write(partial(archive.forget_deliveries, limit=limit, now=self._clock.now()))

    async def compact(self) -> bool:
        return await self._write(partial(give_back, pages=_GIVEN_BACK_AT_ONCE))


def _each(connection: Connection, changes: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    """The `Write` for changes that have no form for many at once."""
    return [change(connection) for change in changes]
