"""Lanes in SQL: where executions with keys wait, and what is known of each lane.

All of it is done by whoever has the workflow's row locked, and with rows of executions that nobody else has locked
(`SKIP LOCKED`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, ScalarSelect, Select, bindparam, func, select, update

from flows.history import flow_control
from flows.history.database import upsert
from flows.history.database_time import DatabaseTime
from flows.history.documents import to_document
from flows.history.ends import end
from flows.history.models import HAS_SLOT, IS_WAITING, executions, lanes
from flows.history.records import Json, Key, Status
from flows.history.rules import Rules

MOST_AT_ONCE = 500
"""Executions of a workflow that one call moves, and that one call ends."""
MOST_LANES = 100
"""Lanes that are due and that one call looks at."""

Waiting = Row[Any]
"""`WAITING` of an execution."""
_table = executions.c
WAITING = (_table.id, _table.accepted_at, _table.queued_at, _table.flow_keys, _table.started_at, _table.lane)


def waiting_in(workflow: str, lane: str) -> Select[Any]:
    """Those that wait in a lane, the oldest first."""
    query = select(*WAITING).where(IS_WAITING, _table.workflow == workflow, _table.lane == lane)
    return query.order_by(_table.queued_at, _table.id)


def locked(connection: Connection, queue: Select[Any]) -> list[Waiting]:
    """The rows, but those that somebody else has locked."""
    return list(connection.execute(queue.with_for_update(key_share=True, skip_locked=True, of=executions)))


def keys_of(row: Waiting) -> list[Key]:
    return flow_control.from_text(row.flow_keys)[0]


@dataclass
class Lanes:
    """The lanes of one workflow during one transaction that has its row locked."""

    connection: Connection
    workflow: str
    rules: Rules
    time: DatabaseTime
    now: datetime
    is_behind: bool = False
    """There is more to do than one call does."""
    slots: Mapping[str, Sequence[Key]] = field(init=False)
    """The keys of those that have a slot, by execution, the oldest first."""

    def __post_init__(self) -> None:
        query = select(_table.id, _table.accepted_at, _table.flow_keys).where(
            HAS_SLOT, _table.workflow == self.workflow
        )
        self.slots = {
            row.id: flow_control.from_text(row.flow_keys)[0]
            for row in sorted(self.connection.execute(query), key=lambda row: (row.accepted_at, row.id))
        }

    @property
    def used(self) -> Counter[str]:
        return Counter(key.lane for keys in self.slots.values() for key in keys if key.rule == "concurrency")

    def move(self, rows: Iterable[tuple[str, str, datetime]]) -> None:
        """Moves executions, whose rows are locked: id, lane, and since when they count as waiting there."""
        statement = update(executions).where(_table.id == bindparam("of"))
        statement = statement.values(lane=bindparam("to"), queued_at=bindparam("at"))
        if moves := [{"of": id_, "to": lane, "at": at} for id_, lane, at in rows]:
            self.connection.execute(statement, moves)

    def end(self, ids: Sequence[str], status: Status, error: Json) -> None:
        end(self.connection, ids, status, self.time, error=to_document(error))

    def oldest_ids(self, lane: str, count: int) -> Sequence[str]:
        query = select(_table.id).where(IS_WAITING, _table.workflow == self.workflow, _table.lane == lane)
        query = query.order_by(_table.queued_at, _table.id).limit(count)
        return self.connection.execute(query).scalars().all()

    def due(self, rule: str, count: int) -> Sequence[Row[Any]]:
        """Lanes of a rule that are due, those first that are longest."""
        query = select(lanes).where(lanes.c.workflow == self.workflow, lanes.c.rule == rule, lanes.c.due <= self.now)
        return self.connection.execute(query.order_by(lanes.c.due).limit(count)).all()

    def heads_of_limits(self) -> Sequence[str]:
        """The first one of each lane of a limit. One look at the index for each, however many wait in it."""
        of_limits = select(_table.lane).where(IS_WAITING, _table.workflow == self.workflow, _table.lane < "d")
        first = of_limits.where(_table.lane >= "c").order_by(_table.lane).limit(1)
        found = select(first.scalar_subquery().label("lane")).cte("found", recursive=True)
        following = of_limits.where(_table.lane > found.c.lane).order_by(_table.lane).limit(1)
        next_lane = following.correlate(found).scalar_subquery()
        found = found.union_all(select(next_lane).where(found.c.lane.is_not(None)))
        query = select(self._first_in(found.c.lane)).where(found.c.lane.is_not(None))
        return self.connection.execute(query).scalars().all()

    def heads_of_throttles(self) -> Sequence[str]:
        """The first one of each lane of a throttle that is due."""
        query = select(lanes.c.lane, self._first_in(lanes.c.lane).label("first"))
        query = query.where(lanes.c.workflow == self.workflow, lanes.c.rule == "throttle", lanes.c.due <= self.now)
        rows = self.connection.execute(query.order_by(lanes.c.due).limit(MOST_LANES)).all()
        self.nobody_waits_in([row.lane for row in rows if row.first is None])
        return [row.first for row in rows if row.first is not None]

    def _first_in(self, lane: ColumnElement[str]) -> ScalarSelect[str]:
        query = select(_table.id).where(IS_WAITING, _table.workflow == self.workflow, _table.lane == lane)
        return query.order_by(_table.queued_at, _table.id).limit(1).correlate_except(executions).scalar_subquery()

    def next_due(self, rule: str) -> datetime | None:
        query = select(func.min(lanes.c.due)).where(lanes.c.workflow == self.workflow, lanes.c.rule == rule)
        return self.connection.execute(query.where(lanes.c.due.is_not(None))).scalar()

    def rows_of(self, names: Sequence[str]) -> dict[str, Row[Any]]:
        query = select(lanes).where(lanes.c.workflow == self.workflow, lanes.c.lane.in_(names))
        return {row.lane: row for row in self.connection.execute(query)} if names else {}

    def paid(self, names: Sequence[str]) -> dict[str, datetime]:
        """Of throttles: see `flow_control.Throttle.free_at`."""
        return {lane: row.since for lane, row in self.rows_of(names).items()}

    def nobody_waits_in(self, names: Sequence[str]) -> None:
        """These lanes are due no more."""
        here = (lanes.c.workflow == self.workflow) & lanes.c.lane.in_(names)
        if names:
            self.connection.execute(update(lanes).where(here).values(due=None))

    def write(self, key: Key, since: datetime, due: datetime, *, leader: str | None = None) -> None:
        self.write_all([(key, since, due)], leader=leader)

    def write_all(self, rows: Iterable[tuple[Key, datetime, datetime]], *, leader: str | None = None) -> None:
        """Key, since when, and when it is due, of each."""
        of_rows = {"workflow": self.workflow, "leader": leader}
        values = [
            of_rows | {"lane": key.lane, "rule": key.rule, "since": since, "due": due} for key, since, due in rows
        ]
        statement = upsert(self.connection, lanes)
        changed = {name: statement.excluded[name] for name in ("rule", "since", "due", "leader")}
        if values:
            keys = ["workflow", "lane"]
            self.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), values)
