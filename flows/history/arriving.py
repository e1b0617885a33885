"""What becomes of executions with keys before they are among those that may be admitted, in SQL.

What comes is looked at once: it is gathered with others (`debounce`, `batch`), or waits for its slot from then on, and
a limit's overflow may end it or others. What one call does is bounded; `is_behind` says that the next one goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update

from flows.history import archive, batches, flow_control
from flows.history.database import upsert
from flows.history.flow_control import ARRIVED, QUEUE
from flows.history.lanes import MOST_AT_ONCE, MOST_LANES, WAITING, Lanes, Waiting, keys_of, locked, waiting_in
from flows.history.models import IS_WAITING, executions, lanes, overflow
from flows.history.records import Key, Status

_table = executions.c


class Arriving(Lanes):
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

    # Events that are gathered

    def _gather(self, gathered: Mapping[Key, Sequence[Waiting]]) -> None:
        self.move((row.id, key.lane, row.accepted_at) for key, rows in gathered.items() for row in rows)
        known = self.rows_of([key.lane for key in gathered])
        rows_of_lanes: list[tuple[Key, datetime, datetime]] = []
        for key in gathered:
            since = known[key.lane].since if key.lane in known else self.now
            if self.rules.debounce and key.rule == "debounce":
                due = self.rules.debounce.due(since, self.now)
            elif self.rules.batch:
                due = since + self.rules.batch.within
                if len(self.oldest_ids(key.lane, self.rules.batch.size)) == self.rules.batch.size:
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
                if len(self.oldest_ids(lane.lane, self.rules.batch.size)) < self.rules.batch.size:
                    self.write(key, self.now, self.now + self.rules.batch.within)
                    break
            else:
                self.is_behind = True
                return
            self._forget_or_wait(lane.lane)

    def _forget_or_wait(self, lane: str) -> None:
        """Nobody waits in the lane any more; or somebody who came in the meantime, or whose row was locked."""
        here = (lanes.c.workflow == self.workflow) & (lanes.c.lane == lane)
        if not self.oldest_ids(lane, 1):
            self.connection.execute(delete(lanes).where(here))
            return
        again = self.now + (self.rules.debounce.quiet if self.rules.debounce else timedelta(0))
        still_due = here & (lanes.c.due <= self.now)
        self.connection.execute(update(lanes).where(still_due).values(since=self.now, due=again, leader=None))


def _priority(row: Waiting) -> float:
    return flow_control.from_text(row.flow_keys)[1]
