"""`Polls` in SQL. Whoever polls has claimed the row; what a poll found is stored with what it has seen, or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, select, update

from flows.history.arrivals import Arrival, Arrivals, accept, digest
from flows.history.database import upsert
from flows.history.database_time import DatabaseTime
from flows.history.documents import from_document
from flows.history.models import poll_keys, polls, workflows
from flows.history.polled import KEPT_KEYS, PollHold, PollState
from flows.history.records import Json
from flows.history.rows import Row

_table, _keys = polls.c, poll_keys.c
_ACTIVE = (workflows.c.name == _table.workflow) & workflows.c.active
_FREE: Row = {"claimed_until": None}


def declare(
    connection: Connection, workflow: str, declared: Mapping[str, Mapping[str, Json]], time: DatabaseTime
) -> None:
    """Makes the workflow's polls those of its current version. A new one is due at once."""
    of_this = _table.workflow == workflow
    connection.execute(delete(polls).where(of_this, _table.source.not_in(list(declared))))
    if not declared:
        return
    now = time.read(connection)
    for source, poll in declared.items():
        row = {"workflow": workflow, "source": source, "every": poll["every"], "due_at": now, "declared_at": now}
        statement = upsert(connection, polls).values(**row, run=0, failures=0)
        changed = {"every": poll["every"], "due_at": now}  # what it asks for may be another thing now
        connection.execute(statement.on_conflict_do_update(index_elements=["workflow", "source"], set_=changed))


def is_any_due(connection: Connection, time: DatabaseTime) -> bool:
    return connection.execute(_due(time.read(connection)).limit(1)).first() is not None


def claim(connection: Connection, seconds: float, time: DatabaseTime) -> PollState | None:
    now = time.read(connection)
    query = _due(now).order_by(_table.due_at, _table.workflow, _table.source).limit(1)
    key = connection.execute(query.with_for_update(of=polls, skip_locked=True)).first()
    if key is None:
        return None
    this = (_table.workflow == key.workflow) & (_table.source == key.source)
    claimed = {"run": _table.run + 1, "claimed_until": now + timedelta(seconds=seconds)}
    connection.execute(update(polls).where(this).values(claimed))
    [state] = states(connection, time, this)
    return state


def _due(now: datetime) -> Select[Any]:
    free = _table.claimed_until.is_(None) | (_table.claimed_until <= now)
    return select(_table.workflow, _table.source).where(_ACTIVE, _table.due_at <= now, free)


def known_keys(connection: Connection, workflow: str, source: str, keys: Sequence[str]) -> frozenset[str]:
    by_digest = {digest(key): key for key in keys}
    of_this = (_keys.workflow == workflow) & (_keys.source == source) & _keys.key.in_(list(by_digest))
    return frozenset(by_digest[found] for found in connection.execute(select(_keys.key).where(of_this)).scalars())


@dataclass(frozen=True)
class Found:
    """What a poll found that went well."""

    hold: PollHold
    keys: Sequence[str]
    new: Sequence[Arrival]
    cursor: str | None
    """A document."""


def finish(connection: Connection, found: Found, time: DatabaseTime) -> bool:
    hold = found.hold
    every = _locked(connection, hold)
    if every is None:
        return False
    now = time.read(connection)
    accept(connection, [Arrivals(now, found.new)])
    _remember(connection, hold, found.keys)
    well: Row = {
        "polled_at": now,
        "due_at": now + timedelta(seconds=every),
        "failures": 0,
        "error": None,
        "cursor": found.cursor,
    }
    connection.execute(update(polls).where(_is_held(hold)).values(_FREE | well))
    return True


def _remember(connection: Connection, hold: PollHold, keys: Sequence[str]) -> None:
    """Notes the keys as seen, and forgets those of which nothing was seen for longest when they are too many."""
    if not keys:
        return
    of_this = {"workflow": hold.workflow, "source": hold.source}
    rows = [of_this | {"key": key, "seen_run": hold.run} for key in sorted({digest(key) for key in keys})]
    statement = upsert(connection, poll_keys)
    seen = {"seen_run": statement.excluded.seen_run}
    connection.execute(statement.on_conflict_do_update(index_elements=["workflow", "source", "key"], set_=seen), rows)
    mine = (_keys.workflow == hold.workflow) & (_keys.source == hold.source)
    older = select(_keys.seen_run).where(mine, _keys.seen_run < hold.run).order_by(_keys.seen_run.desc())
    kept = connection.execute(older.offset(KEPT_KEYS - 1).limit(1)).scalar()
    if kept is not None:
        connection.execute(delete(poll_keys).where(mine, _keys.seen_run < kept))


def fail(connection: Connection, hold: PollHold, error: str | None, retry: float, time: DatabaseTime) -> bool:
    if _locked(connection, hold) is None:
        return False
    badly: Row = {
        "failures": _table.failures + 1,
        "error": error,
        "due_at": time.read(connection) + timedelta(seconds=retry),
    }
    connection.execute(update(polls).where(_is_held(hold)).values(_FREE | badly))
    return True


def release(connection: Connection, hold: PollHold) -> None:
    connection.execute(update(polls).where(_is_held(hold)).values(_FREE))


def of_workflow(connection: Connection, workflow: str | None, time: DatabaseTime) -> list[PollState]:
    return states(connection, time, *([] if workflow is None else [_table.workflow == workflow]))


def states(connection: Connection, time: DatabaseTime, *conditions: ColumnElement[bool]) -> list[PollState]:
    query = select(polls, workflows.c.active).join_from(polls, workflows, workflows.c.name == _table.workflow)
    now = time.read(connection)
    rows = connection.execute(query.where(*conditions).order_by(_table.workflow, _table.source)).mappings()
    return [_state(row, now) for row in rows]


def _state(row: Mapping[Any, Any], now: datetime) -> PollState:
    return PollState(
        workflow=row["workflow"],
        source=row["source"],
        every=row["every"],
        active=row["active"],
        due_at=row["due_at"],
        age=(now - (row["polled_at"] or row["declared_at"])).total_seconds(),
        run=row["run"],
        polled_at=row["polled_at"],
        failures=row["failures"],
        error=from_document(row["error"]),
        cursor=from_document(row["cursor"]),
    )


def _locked(connection: Connection, hold: PollHold) -> float | None:
    """Its interval, if the hold is the row's still; the row is locked then."""
    return connection.execute(select(_table.every).where(_is_held(hold)).with_for_update()).scalar()


def _is_held(hold: PollHold) -> ColumnElement[bool]:
    held = (_table.run == hold.run) & _table.claimed_until.is_not(None)
    return (_table.workflow == hold.workflow) & (_table.source == hold.source) & held
