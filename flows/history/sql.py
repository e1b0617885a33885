"""The history in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, func, select

from flows.history import migrations, reads, writes
from flows.history.arrivals import Arrival, Arrivals, accept
from flows.history.database import LOCK_WAIT, connect, database_url, give_back, transaction
from flows.history.group_commit import GroupCommit
from flows.history.models import executions
from flows.history.payloads import Placed
from flows.history.records import (
    Accepted,
    Execution,
    Json,
    Limits,
    NewExecution,
    Page,
    Status,
    StepExecution,
    Workflow,
    WorkflowVersion,
)
from flows.history.rows import document_or_none, output_document, step_row
from foundation.clock import Clock, SystemClock

R = TypeVar("R")

_READERS = 4
_GIVEN_BACK_AT_ONCE = 1_000  # pages of 4 KiB


class SqlStore:
    """`HistoryStore` over `sqlite:///path` or `postgresql://…`, for any number of processes at once.

    All writes of a process go through one connection and share commits; reads have connections of their own. A
    connection that broke is replaced by the next call.

    Args:
        lock_wait: seconds a write waits for other processes before it raises StorageUnavailable.
    Raises:
        ConfigurationError: the URL is of another database.
    """

    def __init__(
        self, url: str, clock: Clock | None = None, limits: Limits | None = None, *, lock_wait: float = LOCK_WAIT
    ) -> None:
        self._url = database_url(url)
        self._clock, self._limits = clock or SystemClock(), limits or Limits()
        self._lock_wait = lock_wait
        self._reader = connect(self._url, connections=_READERS, writes=False, lock_wait=lock_wait)
        self._writer = connect(self._url, connections=1, writes=True, lock_wait=lock_wait)
        self._group = GroupCommit(partial(transaction, self._writer, lock_wait=lock_wait))

    async def open(self) -> None:
        await migrations.check(self._url.render_as_string(hide_password=False))

    async def close(self) -> None:
        await self._group.flush()
        await self._writer.dispose()
        await self._reader.dispose()

    async def ping(self) -> None:
        await self._read(lambda connection: connection.execute(select(1)))

    async def _read(self, query: Callable[[Connection], R]) -> R:
        return await transaction(self._reader, query, lock_wait=self._lock_wait)

    async def _write(self, change: Callable[[Connection], R]) -> R:
        result: R = await self._group.submit(_each, change)
        return result

    # Workflows

    async def publish(self, version: WorkflowVersion) -> bool:
        return await self._write(partial(writes.publish, version=version, now=self._clock.now()))

    async def workflows(self) -> Sequence[Workflow]:
        return await self._read(reads.list_workflows)

    async def workflow(self, name: str) -> Workflow | None:
        return await self._read(partial(reads.workflow, name=name))

    async def version(self, workflow: str, version: str) -> WorkflowVersion | None:
        return await self._read(partial(reads.version, workflow=workflow, version=version))

    async def set_active(self, workflow: str, active: bool) -> bool:
        values = {"active": active, "updated_at": self._clock.now()}
        return await self._write(partial(writes.change_workflow, name=workflow, values=values))

    async def set_deployment(self, workflow: str, deployment_id: str) -> None:
        values = {"deployment_id": deployment_id, "updated_at": self._clock.now()}
        await self._write(partial(writes.change_workflow, name=workflow, values=values))

    # The way in

    async def accept(self, new: Sequence[NewExecution]) -> Sequence[Accepted]:
        if not new:
            return []
        arrivals = Arrivals(self._clock.now(), [Arrival.of(one, self._limits) for one in new])
        return await self._group.submit(accept, arrivals)

    async def backlog(self) -> Mapping[str, int]:
        return await self._read(reads.backlog)

    async def oldest_accepted(self) -> datetime | None:
        return await self._read(reads.oldest_accepted)

    async def claim(self, *, limit: int, now: datetime, until: datetime) -> Sequence[Execution]:
        return await self._write(partial(writes.claim, limit=limit, now=now, until=until))

    async def dispatched(self, flow_runs: Mapping[str, str]) -> None:
        await self._write(partial(writes.dispatched, flow_runs=dict(flow_runs), now=self._clock.now()))

    async def release(self, execution_ids: Sequence[str]) -> None:
        await self._write(partial(writes.release, execution_ids=list(execution_ids)))

    # Running

    async def begin(
        self, execution_id: str, *, flow_run_id: str | None, owner: str, now: datetime, lease_until: datetime
    ) -> Execution | None:
        return await self._write(
            partial(
                writes.begin,
                execution_id=execution_id,
                flow_run_id=flow_run_id,
                owner=owner,
                now=now,
                lease_until=lease_until,
            )
        )

    async def save_step(self, execution_id: str, step: StepExecution) -> None:
        placed = Placed(execution_id, self._limits.inline_bytes)
        await self._group.submit(writes.save_steps, (step_row(execution_id, step, self._limits, placed.place), placed))

    async def finish(
        self, execution_id: str, status: Status, *, now: datetime, output: Json = None, error: Json = None
    ) -> bool:
        if not status.is_final:
            raise ValueError(f"{status} is no end")
        placed = Placed(execution_id, self._limits.inline_bytes)
        return await self._write(
            partial(
                writes.finish,
                execution_id=execution_id,
                status=status,
                now=now,
                output=placed.place(output_document(output, self._limits)),
                error=document_or_none(error),
                placed=placed,
            )
        )

    async def renew(self, execution_ids: Sequence[str], *, owner: str, until: datetime) -> Sequence[str]:
        return await self._write(partial(writes.renew, execution_ids=list(execution_ids), owner=owner, until=until))

    async def requeue(self, execution_id: str, *, owner: str | None) -> bool:
        now = self._clock.now()
        return await self._write(partial(writes.requeue, execution_id=execution_id, owner=owner, now=now))

    async def expired(self, now: datetime) -> Sequence[Execution]:
        return await self._read(partial(reads.running, condition=executions.c.lease_until <= now))

    async def owned(self, owner_prefix: str) -> Sequence[Execution]:
        # Not LIKE: on SQLite that ignores case
        starts = func.substr(executions.c.owner, 1, len(owner_prefix)) == owner_prefix
        return await self._read(partial(reads.running, condition=starts))

    async def stale_dispatches(self, before: datetime, limit: int) -> Sequence[Execution]:
        return await self._read(partial(reads.stale_dispatches, before=before, limit=limit))

    async def undispatch(self, execution_id: str) -> None:
        await self._write(partial(writes.undispatch, execution_id=execution_id))

    async def request_cancel(self, execution_id: str, *, by: str, reason: str, now: datetime) -> Execution | None:
        request = {"by": by, "reason": reason}
        return await self._write(partial(writes.request_cancel, execution_id=execution_id, request=request, now=now))

    async def cancel_requests(self, execution_ids: Sequence[str]) -> Mapping[str, Json]:
        return await self._read(partial(reads.cancel_requests, execution_ids=list(execution_ids)))

    # Reading

    async def execution(self, execution_id: str) -> Execution | None:
        return await self._read(partial(reads.execution, condition=executions.c.id == execution_id))

    async def execution_of_flow_run(self, flow_run_id: str) -> Execution | None:
        return await self._read(partial(reads.execution, condition=executions.c.flow_run_id == flow_run_id))

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

    async def counts(self) -> Mapping[Status, int]:
        return await self._read(reads.counts)

    # Keeping it small

    async def prune(self, *, before: datetime, limit: int) -> int:
        return await self._write(partial(writes.prune, before=before, limit=limit))

    async def end_of_newest(self, count: int) -> datetime | None:
        return await self._read(partial(reads.end_of_newest, count=count))

    async def forget_deliveries(self, *, now: datetime, limit: int) -> int:
        return await self._write(partial(writes.forget_deliveries, now=now, limit=limit))

    async def compact(self) -> bool:
        return await self._write(partial(give_back, pages=_GIVEN_BACK_AT_ONCE))


def _each(connection: Connection, changes: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    """The `Write` for changes that have no form for many at once."""
    return [change(connection) for change in changes]
