"""Lanes in SQL: where executions with keys wait, until they are among those that may be admitted.

All of it is done by whoever has the workflow's row locked, and with rows of executions that nobody else has locked
(`SKIP LOCKED`). What one call does is bounded; `is_behind` says that the next one goes on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, ScalarSelect, Select, bindparam, delete, func, select, update

from flows.history import archive, batches, flow_control
from flows.history.database import upsert
from flows.history.database_time import DatabaseTime
from flows.history.documents import to_document
from flows.history.ends import end
from flows.history.flow_control import ARRIVED, QUEUE, Rules
from flows.history.models import HAS_SLOT, IS_WAITING, executions, lanes, overflow
from flows.history.records import Json, Key, Status

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

    def arrive(self) -> None:
        """Looks at what came, and at what is due."""
        arrived = locked(self.connection, waiting_in(self.workflow, ARRIVED).limit(MOST_AT_ONCE))
        self.is_behind = len(arrived) == MOST_AT_ONCE
        gathered: dict[Key, list[Waiting]] = defaultdict(list)
        others = []
        for row in arrived:
            key = self.rules.gathering(keys_of(row)) if row.started_at is None else None
            if key:
                gathered[key].append(row)
            else:
                others.append(row)
        self._gather(gathered)
        self._queue(others)
        if self.rules.debounce:
            self._end_debounced()
        if self.rules.batch:
            self._make_batches()

    def move(self, rows: Iterable[tuple[str, str, datetime]]) -> None:
        """Moves executions, whose rows are locked: id, lane, and since when they count as waiting there."""
        statement = update(executions).where(_table.id == bindparam("of"))
        statement = statement.values(lane=bindparam("to"), queued_at=bindparam("at"))
        if moves := [{"of": id_, "to": lane, "at": at} for id_, lane, at in rows]:
            self.connection.execute(statement, moves)

    def _queue(self, rows: Sequence[Waiting]) -> None:
        """They wait for their slot from now on, if their limits let them."""
        self.move((row.id, QUEUE, flow_control.ahead(row.accepted_at, _priority(row))) for row in rows)
        entered: dict[Key, list[str]] = defaultdict(list)
        for row in rows:
            for key in keys_of(row):
                if (limit := self.rules.limit_of(key)) and limit.overflow != "wait":
                    entered[key].append(row.id)
        entries = [
            {"workflow": self.workflow, "lane": key.lane, "execution_id": id_}
            for key, ids in entered.items()
            for id_ in ids
        ]
        if entries:
            self.connection.execute(upsert(self.connection, overflow).on_conflict_do_nothing(), entries)
        for key in entered:
            self._end_overflow(key)

    # Limits that do more than wait

    def _end_overflow(self, key: Key) -> None:
        of_lane = (overflow.c.workflow == self.workflow) & (overflow.c.lane == key.lane)
        never_begun = _table.started_at.is_(None)
        still = select(_table.id).where(_table.id == overflow.c.execution_id, IS_WAITING, never_begun)
        still = still.correlate(overflow)
        self.connection.execute(delete(overflow).where(of_lane, ~still.exists()))
        query = select(_table.id, _table.accepted_at)
        query = query.join_from(overflow, executions, _table.id == overflow.c.execution_id)
        query = query.where(of_lane, IS_WAITING, never_begun)
        rows = sorted(locked(self.connection, query), key=lambda row: (row.accepted_at, row.id))
        waiting = [row.id for row in rows]
        running = [id_ for id_, keys in self.slots.items() if key in keys]
        limit = self.rules.limits[key.of]
        gone = flow_control.beyond(limit, running, waiting)
        newest = waiting[-1] if waiting else ""
        error = flow_control.limit_reached(limit.limit, key)
        if limit.overflow != "cancel":
            error = flow_control.superseded(key, newest)
        self.end([id_ for id_ in gone if id_ not in self.slots], flow_control.end_of_overflow(limit.overflow), error)
        request = {"by": "its workflow", "reason": flow_control.superseded(key, newest)["message"]}
        for id_ in gone:
            if id_ in self.slots:
                archive.request_cancel(self.connection, id_, request, self.time)
                self.is_behind = True  # one that had not begun has ended with that

    def end(self, ids: Sequence[str], status: Status, error: Json) -> None:
        end(self.connection, ids, status, self.time, error=to_document(error))

    # Events that are gathered

    def _gather(self, gathered: Mapping[Key, Sequence[Waiting]]) -> None:
        self.move((row.id, key.lane, row.accepted_at) for key, rows in gathered.items() for row in rows)
        known = self._rows([key.lane for key in gathered])
        rows_of_lanes: list[tuple[Key, datetime, datetime]] = []
        for key in gathered:
            since = known[key.lane].since if key.lane in known else self.now
            if self.rules.debounce and key.rule == "debounce":
                due = self.rules.debounce.due(since, self.now)
            elif self.rules.batch:
                due = since + self.rules.batch.within
                if len(self._oldest_ids(key.lane, self.rules.batch.size)) == self.rules.batch.size:
                    due = self.now
            rows_of_lanes.append((key, since, due))
        self.write_all(rows_of_lanes)

    def _end_debounced(self) -> None:
        """The newest of each lane that is due runs, and the others do not."""
        left = MOST_AT_ONCE
        for lane in self.due("debounce", MOST_LANES):
            if left <= 0:
                self.is_behind = True
                return
            newest = waiting_in(self.workflow, lane.lane).order_by(None)
            newest = newest.order_by(_table.queued_at.desc(), _table.id.desc()).limit(1)
            if lane.leader is None:
                leaders = locked(self.connection, newest)
                leader = leaders[0] if leaders else None
                if leader:
                    self._queue([leader])
            else:
                leader = self.connection.execute(select(*WAITING).where(_table.id == lane.leader)).first()
            if leader is None:
                self._forget_or_wait(lane.lane)
                continue
            before = waiting_in(self.workflow, lane.lane).where(
                (_table.queued_at < leader.accepted_at)
                | ((_table.queued_at == leader.accepted_at) & (_table.id < leader.id))
            )
            rows = locked(self.connection, before.limit(left))
            key = next(key for key in keys_of(leader) if key.rule == "debounce")
            self.end([row.id for row in rows], Status.SKIPPED, flow_control.superseded(key, leader.id))
            if len(rows) == left:
                self.write(key, lane.since, self.now, leader=leader.id)
                self.is_behind = True
            else:
                self._forget_or_wait(lane.lane)
            left -= len(rows) + 1

    def _make_batches(self) -> None:
        """The oldest of each batch that is full, or due, has the others' events."""
        assert self.rules.batch  # noqa: S101 - asked by the caller
        left = MOST_AT_ONCE
        for lane in self.due("batch", MOST_LANES):
            while left > 0:
                rows = locked(self.connection, waiting_in(self.workflow, lane.lane).limit(self.rules.batch.size))
                if not rows:
                    break
                ids = batches.gather(self.connection, [row.id for row in rows])
                leader, *others = rows[: len(ids)]
                key = next(key for key in keys_of(leader) if key.rule == "batch")
                self.end([row.id for row in others], Status.SKIPPED, flow_control.batched(key, leader.id))
                self._queue([leader])
                left -= len(ids)
                if len(rows) < self.rules.batch.size and len(ids) == len(rows):
                    break
                if len(self._oldest_ids(lane.lane, self.rules.batch.size)) < self.rules.batch.size:
                    self.write(key, self.now, self.now + self.rules.batch.within)
                    break
            else:
                self.is_behind = True
                return
            self._forget_or_wait(lane.lane)

    def _forget_or_wait(self, lane: str) -> None:
        """Nobody waits in the lane any more; or somebody who came in the meantime, or whose row was locked."""
        here = (lanes.c.workflow == self.workflow) & (lanes.c.lane == lane)
        if not self._oldest_ids(lane, 1):
            self.connection.execute(delete(lanes).where(here))
            return
        again = self.now + (self.rules.debounce.quiet if self.rules.debounce else timedelta(0))
        still_due = here & (lanes.c.due <= self.now)
        self.connection.execute(update(lanes).where(still_due).values(since=self.now, due=again, leader=None))

    def _oldest_ids(self, lane: str, count: int) -> Sequence[str]:
        query = select(_table.id).where(IS_WAITING, _table.workflow == self.workflow, _table.lane == lane)
        query = query.order_by(_table.queued_at, _table.id).limit(count)
        return self.connection.execute(query).scalars().all()

    # Rows of lanes

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

    def _rows(self, names: Sequence[str]) -> dict[str, Row[Any]]:
        query = select(lanes).where(lanes.c.workflow == self.workflow, lanes.c.lane.in_(names))
        return {row.lane: row for row in self.connection.execute(query)} if names else {}

    def paid(self, names: Sequence[str]) -> dict[str, datetime]:
        """Of throttles: see `flow_control.Throttle.free_at`."""
        return {lane: row.since for lane, row in self._rows(names).items()}

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


def _priority(row: Waiting) -> float:
    return flow_control.from_text(row.flow_keys)[1]
