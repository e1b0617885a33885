"""Lanes in memory: every execution is looked at anew each time, by the same rules as in SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime

from flows.history import flow_control
from flows.history.flow_control import ARRIVED, QUEUE, Gate
from flows.history.memory.state import Kept, KeptLane
from flows.history.memory.waits import MemoryWaits
from flows.history.records import Json, Key, Status
from flows.history.rules import Rules, rules_of


class MemoryLanes(MemoryWaits):
    def _rules(self, workflow: str) -> Rules:
        known = self._workflows.get(workflow)
        return rules_of(known.rules or {}, known.concurrency_limit) if known else Rules({})

    def _waiting(self, workflow: str, lane: str | None = None) -> list[Kept]:
        """Those that wait in this lane, or at all, the oldest first."""
        its = (kept for kept in self._in(Status.ACCEPTED) if kept.is_waiting and kept.execution.workflow == workflow)
        return sorted((kept for kept in its if lane in (None, kept.lane)), key=lambda kept: kept.place)

    def _arrive(self, workflow: str, now: datetime) -> None:
        """Looks at what came, and at what is due."""
        rules, others = self._rules(workflow), list[Kept]()
        gathered: dict[Key, list[Kept]] = defaultdict(list)
        for kept in self._waiting(workflow, ARRIVED):
            key = None if kept.execution.started_at else rules.gathering(kept.keys)
            (gathered[key] if key else others).append(kept)
        for key, its in gathered.items():
            for kept in its:
                kept.lane, kept.queued_at = key.lane, kept.execution.accepted_at
            since = self._lanes[workflow, key.lane].since if (workflow, key.lane) in self._lanes else now
            if rules.debounce and key.rule == "debounce":
                self._lanes[workflow, key.lane] = KeptLane(since, rules.debounce.due(since, now))
            elif rules.batch:
                is_full = len(self._waiting(workflow, key.lane)) >= rules.batch.size
                self._lanes[workflow, key.lane] = KeptLane(since, now if is_full else since + rules.batch.within)
        self._enqueue(workflow, others)
        for lane in [lane for of, lane in self._lanes if of == workflow and lane[0] in "db"]:
            due = self._lanes[workflow, lane].due
            if due is not None and due <= now:
                self._gather(workflow, lane, rules, now)

    def _gather(self, workflow: str, lane: str, rules: Rules, now: datetime) -> None:
        waiting = self._waiting(workflow, lane)
        del self._lanes[workflow, lane]
        if waiting and lane[0] == "d":
            *others, leader = waiting
            self._stand_in(leader, others, flow_control.superseded)
            self._enqueue(workflow, [leader])
        while rules.batch and waiting and lane[0] == "b":
            batch, waiting = waiting[: rules.batch.size], waiting[rules.batch.size :]
            batch[0].event = flow_control.with_batch([kept.event for kept in batch])
            self._stand_in(batch[0], batch[1:], flow_control.batched)
            self._enqueue(workflow, batch[:1])
            if waiting and len(waiting) < rules.batch.size:
                self._lanes[workflow, lane] = KeptLane(now, now + rules.batch.within)
                return

    def _stand_in(self, leader: Kept, others: Sequence[Kept], error: flow_control.StandsIn) -> None:
        key = next(key for key in leader.keys if key.lane == leader.lane)
        for kept in others:
            self._end_execution(kept, Status.SKIPPED, error=error(key, leader.id))

    def _enqueue(self, workflow: str, its: Sequence[Kept]) -> None:
        rules, entered = self._rules(workflow), dict[Key, None]()
        for kept in its:
            kept.lane, kept.queued_at = QUEUE, flow_control.ahead(kept.execution.accepted_at, kept.priority)
            kept.has_entered = True
            entered |= {key: None for key in kept.keys if (limit := rules.limit_of(key)) and limit.overflow != "wait"}
        for key in entered:
            self._end_overflow_of(workflow, key, rules)

    def _end_overflow_of(self, workflow: str, key: Key, rules: Rules) -> None:
        its = [kept for kept in self._waiting(workflow) if key in kept.keys and kept.may_overflow]
        waiting = sorted(its, key=lambda kept: kept.age)
        slots = (kept for kept in self._with_slot(workflow) if key in kept.keys)
        running, limit = sorted(slots, key=lambda kept: kept.age), rules.limits[key.of]
        gone = flow_control.beyond(limit, running, waiting)
        newest = waiting[-1].id if waiting else ""
        error: Json = flow_control.superseded(key, newest)
        for kept in gone:
            if kept.has_slot:
                self._request_cancel(kept, {"by": "its workflow", "reason": error["message"]})
            elif limit.overflow == "cancel":
                self._end_execution(kept, Status.CANCELLED, error=flow_control.limit_reached(limit.limit, key))
            else:
                self._end_execution(kept, flow_control.end_of_overflow(limit.overflow), error=error)

    def _with_slot(self, workflow: str) -> list[Kept]:
        return [kept for kept in self._executions.values() if kept.has_slot and kept.execution.workflow == workflow]

    def _gate(self, workflow: str, now: datetime) -> Gate:
        used = Counter(key.lane for kept in self._with_slot(workflow) for key in kept.keys if key.rule == "concurrency")
        paid = {lane: one.since for (of, lane), one in self._lanes.items() if of == workflow and lane[0] == "t"}
        return Gate(self._rules(workflow), now, used, paid)

    def _passing(self, workflow: str, vacant: int, now: datetime) -> list[Kept]:
        """Up to so many that may be admitted, in order."""
        gate, passed = self._gate(workflow, now), list[Kept]()
        for kept in self._waiting(workflow):
            if len(passed) >= vacant:
                break
            if kept.is_gathered:
                continue
            again = kept.execution.started_at is not None
            there = [key for key in kept.keys if key.lane == kept.lane]
            if key := gate.blocks([*there, *kept.keys], again=again):
                kept.lane = key.lane
            else:
                gate.take(kept.keys, again=again)
                passed.append(kept)
        return passed

    def _note_starts(self, workflow: str, started: Collection[Kept], now: datetime) -> None:
        """What the throttles have to know of those that were admitted."""
        gate = self._gate(workflow, now)
        for kept in started:
            gate.take(kept.keys, again=kept.execution.started_at is not None)
        for lane, paid in gate.paid.items():
            self._lanes[workflow, lane] = KeptLane(paid)

    def _due(self, workflow: str, full: bool) -> datetime | None:
        throttle = self._rules(workflow).throttle
        dues = [one.due for (of, _), one in self._lanes.items() if of == workflow and one.due]
        held = {kept.lane for kept in self._waiting(workflow) if kept.lane[:1] == "t"}
        if throttle and not full:
            known = (self._lanes.get((workflow, lane)) for lane in held)
            dues += [throttle.free_at(one.since) for one in known if one]
        return min(dues, default=None)

    def _request_cancel(self, kept: Kept, request: Json) -> None:
        if not kept.status.is_final and kept.execution.cancel_requested is None:
            kept.change(cancel_requested=request)
        is_nowhere = kept.status is Status.ACCEPTED and kept.execution.flow_run_id is None
        if kept.status is Status.WAITING or is_nowhere:
            self._end_execution(kept, Status.CANCELLED)
