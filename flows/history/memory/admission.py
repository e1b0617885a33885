"""`Admission` in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from flows.history.documents import handed_over
from flows.history.memory.state import Kept
from flows.history.memory.waits import MemoryWaits
from flows.history.records import Execution, Status
from flows.history.rows import limit_reached
from flows.history.turns import in_turn


class MemoryAdmission(MemoryWaits):
    async def admit(self, *, limit: int, claim: float) -> Sequence[Execution]:
        await self.wake(limit=limit)
        now = self._clock.now()
        chosen = in_turn(self._queues(now), limit)
        for kept in chosen:
            self._admit(kept, now)
            kept.claimed_until = None if kept.execution.flow_run_id else now + timedelta(seconds=claim)
        return [replace(kept.light(), event=handed_over(kept.event)) for kept in chosen]

    def _queues(self, now: datetime) -> list[list[Kept]]:
        """What may be handed over, by workflow."""
        free: dict[str, list[Kept]] = defaultdict(list)
        waiting: dict[str, list[Kept]] = defaultdict(list)
        for kept in sorted(self._in(Status.ACCEPTED), key=lambda kept: kept.age):
            if kept.is_waiting:
                waiting[kept.execution.workflow].append(kept)
            elif kept.execution.flow_run_id is None and (kept.claimed_until is None or kept.claimed_until <= now):
                free[kept.execution.workflow].append(kept)
        for workflow, queue in waiting.items():
            room = self._room(workflow)
            free[workflow] += queue[:room]
            self._end_overflow(workflow, queue[room:])
        return sorted((queue for queue in free.values() if queue), key=lambda queue: queue[0].age)

    def _end_overflow(self, workflow: str, beyond: Sequence[Kept]) -> bool:
        """Ends what is beyond the limit, where the workflow says so."""
        limit, overflow = self._limit(workflow)
        if overflow == "cancel":
            for kept in beyond:
                self._end_execution(kept, Status.CANCELLED, error=limit_reached(limit))
        return overflow == "cancel"

    def _admit(self, kept: Kept, now: datetime) -> None:
        if kept.execution.admitted_at is None:
            kept.change(admitted_at=now)
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
