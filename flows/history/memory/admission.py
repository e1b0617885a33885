"""`Admission` in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from flows.history.documents import handed_over
from flows.history.flow_control import QUEUE, limit_reached
from flows.history.memory.lanes import MemoryLanes
from flows.history.memory.state import Kept
from flows.history.records import Admitted, Mode, Refusal, Status
from flows.history.rules import declared_mode
from flows.history.turns import in_turn


class MemoryAdmission(MemoryLanes):
    async def admit(self, *, limit: int, claim: float, modes: Collection[Mode | None] = (*Mode, None)) -> Admitted:
        await self.wake(limit=limit)
        now = self._clock.now()
        waiting = {kept.execution.workflow for kept in self._in(Status.ACCEPTED) if kept.is_waiting}
        workflows = sorted(name for name in waiting if self._mode(name) in modes)
        for workflow in workflows:
            self._arrive(workflow, now)
        vacant = {workflow: min(self._room(workflow), limit) for workflow in workflows}
        passed = {workflow: self._passing(workflow, vacant[workflow], now) for workflow in workflows}
        chosen = in_turn(self._queues(passed, modes, now), limit)
        for workflow in workflows:
            self._end_overflow(workflow, self._waiting(workflow, QUEUE)[self._room(workflow) :])
            self._note_starts(workflow, [kept for kept in passed[workflow] if kept in chosen], now)
        for kept in chosen:
            self._admit(kept, now)
            kept.claimed_until = None if kept.execution.flow_run_id else now + timedelta(seconds=claim)
        dues = [self._due(workflow, len(passed[workflow]) >= vacant[workflow]) for workflow in workflows]
        soonest = min((due for due in dues if due), default=None)
        due = max((soonest - now).total_seconds(), 0.0) if soonest else None
        return Admitted((replace(kept.light(), event=handed_over(kept.event)) for kept in chosen), due)

    def _queues(
        self, passed: Mapping[str, Sequence[Kept]], modes: Collection[Mode | None], now: datetime
    ) -> list[list[Kept]]:
        """What may be handed over, by workflow."""
        free: dict[str, list[Kept]] = defaultdict(list)
        for kept in sorted(self._in(Status.ACCEPTED), key=lambda kept: kept.age):
            is_claimed = kept.claimed_until is not None and kept.claimed_until > now
            is_wanted = self._mode(kept.execution.workflow) in modes
            if is_wanted and kept.has_slot and kept.execution.flow_run_id is None and not is_claimed:
                free[kept.execution.workflow].append(kept)
        for workflow, queue in passed.items():
            free[workflow] += queue
        return sorted((queue for queue in free.values() if queue), key=lambda queue: queue[0].age)

    def _mode(self, workflow: str) -> Mode | None:
        known = self._workflows.get(workflow)
        said = declared_mode(self._versions[workflow, known.current].declaration) if known else None
        return Mode(said) if said else None

    def _end_overflow(self, workflow: str, beyond: Sequence[Kept]) -> bool:
        """Ends what is beyond the limit, where the workflow says so."""
        limit, overflow = self._limit(workflow)
        cancels = overflow == "cancel" and "" not in self._rules(workflow).limits
        if cancels:
            for kept in beyond:
                if kept.execution.started_at is None:
                    self._end_execution(kept, Status.CANCELLED, error=limit_reached(limit))
        return cancels

    def _enter(self, kept: Kept, now: datetime) -> Refusal | None:
        """Whether one that begins without having been admitted may."""
        workflow, again = kept.execution.workflow, kept.execution.started_at is not None
        self._arrive(workflow, now)
        if not kept.status.is_final and not self._room(workflow):
            self._end_overflow(workflow, [kept])
        if kept.status.is_final:
            return Refusal.ENDED
        is_blocked = kept.is_gathered or self._gate(workflow, now).blocks(kept.keys, again=again)
        if is_blocked or not self._room(workflow):
            return Refusal.FULL
        self._note_starts(workflow, [kept], now)
        return None

    def _admit(self, kept: Kept, now: datetime) -> None:
        if kept.execution.admitted_at is None:
            kept.change(admitted_at=now)
            kept.lane = QUEUE
            if kept.execution.flow_run_id:
                kept.dispatched_at = now

    async def dispatched(self, flow_runs: Mapping[str, str]) -> None:
        for execution_id, flow_run_id in flow_runs.items():
            if kept := self._executions.get(execution_id):
                kept.change(flow_run_id=kept.execution.flow_run_id or flow_run_id)
                kept.dispatched_at, kept.claimed_until = self._clock.now(), None

    async def release(self, execution_ids: Sequence[str]) -> None:
        for kept in self._in(Status.ACCEPTED):
            if kept.id in execution_ids:
                kept.claimed_until = None
