"""`Waits` in SQL: waking executions by an answer, or because their time has come.

Whoever answers and whoever parks (`running.park`) lock the address first, then the execution: so an answer finds the
step that waits for it, or the step finds the answer that was kept. An execution is locked before it is woken: one that
is just about to wait has begun to, or sees that its wait has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update

from flows.history.database import upsert
from flows.history.database_time import DatabaseTime
from flows.history.documents import document_or_none
from flows.history.models import IS_DUE, IS_OPEN, WAS_AT_ADDRESS, executions, kept_answers, waits
from flows.history.records import Delivery, Json, NewWait, Status, Wait, WaitKind, is_step_address
from flows.history.rows import wait_of

_table = waits.c


def lock(connection: Connection, addresses: Iterable[str | None]) -> None:
    """Nobody else answers at these addresses, or begins to wait there, until the transaction ends."""
    if connection.dialect.name != "postgresql":  # SQLite has one writer
        return
    for address in sorted({one for one in addresses if one is not None}):
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(address, 0))))


def answer(
    connection: Connection, address: str, answer: Json, by: str | None, keep: float, time: DatabaseTime
) -> Delivery:
    lock(connection, [address])
    said = {"answer": document_or_none(answer), "answered_by": by}
    at_address = _table.address == address
    first = select(_table.execution_id, _table.path).where(at_address, IS_OPEN)
    waiting = connection.execute(first.order_by(_table.begun_at, _table.execution_id, _table.path).limit(1)).first()
    if waiting is not None:
        _lock_executions(connection, [waiting.execution_id])
        this = (_table.execution_id == waiting.execution_id) & (_table.path == waiting.path)
        if _end(connection, this & IS_OPEN, time.read(connection), answered=True, **said):
            return Delivery.DELIVERED
    before = select(_table.path).where(at_address, WAS_AT_ADDRESS).limit(1)
    if is_step_address(address) and connection.execute(before).first():
        return Delivery.KNOWN
    now = time.read(connection)
    values = {"address": address, "expires_at": now + timedelta(seconds=keep), **said}
    is_over = kept_answers.c.expires_at <= now
    keeping = upsert(connection, kept_answers).values(values)
    keeping = keeping.on_conflict_do_update(index_elements=["address"], set_=values, where=is_over)
    kept = connection.execute(keeping.returning(kept_answers.c.address)).first()
    return Delivery.KNOWN if kept is None else Delivery.KEPT


def wake(connection: Connection, limit: int, time: DatabaseTime) -> int:
    now = time.read(connection)
    due = IS_DUE & (_table.due_at <= now)
    first = select(_table.execution_id).where(due).order_by(_table.due_at).limit(limit)
    ids = set(connection.execute(first).scalars())
    if not ids:
        return 0
    locked = _lock_executions(connection, ids, skip_locked=True)
    return _end(connection, _table.execution_id.in_(locked) & due, now)


def begin(connection: Connection, execution_id: str, new: Sequence[NewWait], now: datetime) -> bool:
    """Begins to wait; True when one of these waits has ended already. Addresses and execution are locked."""
    rows = [
        {
            "execution_id": execution_id,
            "path": one.path,
            "kind": one.kind.value,
            "address": one.address,
            "begun_at": now,
            "due_at": one.due_at,
            "document": document_or_none(one.document),
            "answered": False,
        }
        for one in new
    ]
    connection.execute(upsert(connection, waits).on_conflict_do_nothing(), rows)
    mine = (_table.execution_id == execution_id) & _table.path.in_([one.path for one in new])
    for address in sorted(one.address for one in new if one.address):
        _take_kept(connection, mine & (_table.address == address) & IS_OPEN, address, now)
    return (
        connection.execute(select(_table.path).where(mine, _table.ended_at.is_not(None)).limit(1)).first() is not None
    )


def _take_kept(connection: Connection, waiting: ColumnElement[bool], address: str, now: datetime) -> None:
    """A kept answer goes to one of the steps of an execution that wait for it."""
    path = connection.execute(select(_table.path).where(waiting).order_by(_table.path).limit(1)).scalar()
    if path is None:
        return
    kept = kept_answers.c
    taken = (
        delete(kept_answers).where(kept.address == address).returning(kept.answer, kept.answered_by, kept.expires_at)
    )
    row = connection.execute(taken).first()
    if row is not None and row.expires_at > now:
        said = {"answered": True, "answer": row.answer, "answered_by": row.answered_by, "ended_at": now}
        connection.execute(update(waits).where(waiting, _table.path == path).values(said))


def end_open(connection: Connection, execution_ids: Collection[str], at: datetime) -> None:
    """Executions that have ended wait for nothing any more."""
    of_these = _table.execution_id.in_(execution_ids)
    connection.execute(update(waits).where(of_these, IS_OPEN).values(ended_at=at))


def of_execution(connection: Connection, execution_id: str) -> tuple[Wait, ...]:
    query = select(waits).where(_table.execution_id == execution_id)
    return tuple(_read(connection, query.order_by(_table.begun_at, _table.path)))


def wait_at(connection: Connection, address: str) -> Wait | None:
    newest = select(waits).where(_table.address == address).order_by(_table.begun_at.desc()).limit(1)
    for these in (IS_OPEN, WAS_AT_ADDRESS):
        if found := _read(connection, newest.where(these)):
            return found[0]
    return None


def open_waits(connection: Connection, kind: WaitKind, limit: int) -> list[Wait]:
    query = select(waits).where(IS_OPEN, _table.kind == kind.value)
    return _read(connection, query.order_by(_table.begun_at, _table.execution_id, _table.path).limit(limit))


def _read(connection: Connection, query: Select[Any]) -> list[Wait]:
    return [wait_of(row) for row in connection.execute(query).mappings()]


def _end(connection: Connection, which: ColumnElement[bool], now: datetime, **said: Any) -> int:
    """Ends open waits of executions that are locked, and wakes these; how many."""
    ended = update(waits).where(which).values(ended_at=now, **said).returning(_table.execution_id)
    ids = connection.execute(ended).scalars().all()
    waiting = executions.c.id.in_(set(ids)) & (executions.c.status == Status.WAITING)
    connection.execute(update(executions).where(waiting).values(status=Status.ACCEPTED.value, parked_at=None))
    return len(ids)


def _lock_executions(connection: Connection, ids: Collection[str], *, skip_locked: bool = False) -> list[str]:
    query = select(executions.c.id).where(executions.c.id.in_(ids)).order_by(executions.c.id)
    return list(connection.execute(query.with_for_update(skip_locked=skip_locked)).scalars())
