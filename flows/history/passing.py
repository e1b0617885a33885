"""Who of a workflow with rules may be admitted, in SQL: the oldest whose every key lets them.

Whoever is met and has to wait is moved to the lane of the key it waits for, and is not met again before that key lets
somebody pass. So a long queue of one key is walked through once, and hides no other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from typing import Any

from sqlalchemy import select, tuple_

from flows.history.flow_control import ARRIVED, QUEUE, Gate
from flows.history.lanes import WAITING, Lanes, Waiting, keys_of, locked, waiting_in
from flows.history.models import IS_WAITING, executions
from flows.history.records import Key, Refusal

MOST_MET = 500
"""Executions of a workflow that one call looks at; the next one goes on."""

_HEAD, _ROW, _REST = range(3)
_table = executions.c


@dataclass
class Passing:
    """One walk through a workflow's lanes.

    Attributes:
        full: there was no room for all that may start.
    """

    lanes: Lanes
    full: bool = False
    _gate: Gate = field(init=False)
    _heap: list[tuple[datetime, str, int, Any]] = field(default_factory=list)
    _of: dict[str, Key] = field(default_factory=dict)
    """The keys that were met, by lane."""
    _last: dict[str, Waiting] = field(default_factory=dict)
    """The last one that was met of each lane."""
    _moved: list[tuple[str, str, datetime]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._gate = Gate(self.lanes.rules, self.lanes.now, self.lanes.used, {})

    def candidates(self, vacant: int) -> list[Waiting]:
        """Up to so many that may be admitted, in order. `settle` must follow."""
        passed: list[Waiting] = []
        if vacant:
            self._look_at(QUEUE, vacant)
            self._look_at_limits()
            self._look_at_throttles()
        met = 0
        while self._heap and len(passed) < vacant:
            *_, kind, what = heappop(self._heap)
            if kind != _ROW:
                self._look_at(what, vacant - len(passed))
                continue
            met += 1
            if met > MOST_MET:
                self.lanes.is_behind = True
                break
            keys, again = keys_of(what), what.started_at is not None
            if (key := self._gate.blocks(keys, again=again)) is None:
                self._gate.take(keys, again=again)
                passed.append(what)
            elif key.lane != what.lane:
                self._moved.append((what.id, key.lane, what.queued_at))
        self.full = len(passed) >= vacant
        return passed

    def enter(self, execution_id: str, *, has_room: bool) -> Refusal | None:
        """Whether one may begin that was not admitted before."""
        query = select(*WAITING).where(_table.id == execution_id, IS_WAITING)
        row = self.lanes.connection.execute(query).first()
        if row is None:
            return Refusal.ENDED
        self._know([row])
        keys, again = keys_of(row), row.started_at is not None
        gathering = self.lanes.rules.gathering(keys)
        is_held = row.lane == ARRIVED or (gathering and gathering.lane == row.lane)
        if is_held or not has_room or self._gate.blocks(keys, again=again):
            return Refusal.FULL
        self.settle({row.id}, [row])
        return None

    def settle(self, admitted: Collection[str], passed: Sequence[Waiting]) -> None:
        """Writes down who was met.

        Args:
            admitted: the ids of those of `passed`, the first ones, whose turn it is.
        """
        self.lanes.move(self._moved)
        throttle = self.lanes.rules.throttle
        if throttle is None:
            return
        touched = {lane for _, lane, _ in self._moved}
        paid = self.lanes.paid([lane for lane, key in self._of.items() if key.rule == "throttle"])
        gate = Gate(self.lanes.rules, self.lanes.now, self.lanes.used, paid)
        for row in passed:
            if row.id in admitted:
                gate.take(keys_of(row), again=row.started_at is not None)
                touched |= {key.lane for key in keys_of(row)}
        throttled = [key for lane in sorted(touched) if self.lanes.rules.throttles(key := self._of[lane])]
        until = {key: gate.paid.get(key.lane, self.lanes.now) for key in throttled}
        self.lanes.write_all((key, paid, throttle.free_at(paid)) for key, paid in until.items())

    @property
    def due(self) -> datetime | None:
        """When the next one of the workflow has waited long enough. Throttles don't count while there is no room."""
        if self.lanes.is_behind:
            return self.lanes.now
        rules = self.lanes.rules
        clocks = {"debounce": rules.debounce, "batch": rules.batch, "throttle": not self.full and rules.throttle}
        dues = [self.lanes.next_due(name) for name, rule in clocks.items() if rule]
        return min((due for due in dues if due is not None), default=None)

    def _look_at(self, lane: str, most: int) -> None:
        """Takes the next ones of a lane."""
        most = min(most, self._room(lane))
        if most <= 0:
            return
        queue = waiting_in(self.lanes.workflow, lane).limit(most)
        if last := self._last.get(lane):
            queue = queue.where(tuple_(_table.queued_at, _table.id) > (last.queued_at, last.id))
        rows = locked(self.lanes.connection, queue)
        self._know(rows)
        for row in rows:
            heappush(self._heap, (row.queued_at, row.id, _ROW, row))
        if len(rows) == most:
            self._last[lane] = rows[-1]
            heappush(self._heap, (rows[-1].queued_at, rows[-1].id, _REST, lane))

    def _look_at_limits(self) -> None:
        """Takes the first ones of the lanes whose limit has room again. They are as many as had a slot lately."""
        for row, key in self._heads(self.lanes.heads_of_limits()):
            if self._gate.room(key.lane, key.of):
                heappush(self._heap, (row.queued_at, "", _HEAD, key.lane))

    def _look_at_throttles(self) -> None:
        for row, key in self._heads(self.lanes.heads_of_throttles()):
            heappush(self._heap, (row.queued_at, "", _HEAD, key.lane))

    def _heads(self, ids: Sequence[str]) -> list[tuple[Waiting, Key]]:
        """Those executions, each with the key that it waits for."""
        rows = self.lanes.connection.execute(select(*WAITING).where(_table.id.in_(ids))).all() if ids else ()
        self._know(rows)
        return [(row, self._of[row.lane]) for row in rows]

    def _know(self, rows: Sequence[Waiting]) -> None:
        keys = {key.lane: key for row in rows for key in keys_of(row)}
        new = [lane for lane, key in keys.items() if self.lanes.rules.throttles(key) and lane not in self._of]
        self._gate.paid |= self.lanes.paid(new)
        self._of |= keys

    def _room(self, lane: str) -> int:
        key = self._of.get(lane)
        if key is None:
            return MOST_MET
        return self._gate.starts(lane) if key.rule == "throttle" else self._gate.room(lane, key.of)
