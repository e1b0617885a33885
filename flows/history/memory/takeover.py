"""`Takeover` in memory, but for what it shares with `Running`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from flows.history.memory.state import MemoryState
from flows.history.records import Execution, Status


class MemoryTakeover(MemoryState):
    async def expired(self, limit: int = 200) -> Sequence[Execution]:
        now = self._clock.now()
        leases = [(kept.execution.lease_until, kept.id, kept) for kept in self._in(Status.RUNNING)]
        over = sorted((until, execution_id) for until, execution_id, _ in leases if until is not None and until <= now)
        return [self._executions[execution_id].light() for _, execution_id in over[:limit]]

    async def owned(self, owner_prefix: str) -> Sequence[Execution]:
        found = [kept for kept in self._in(Status.RUNNING) if (kept.execution.owner or "").startswith(owner_prefix)]
        return [kept.light() for kept in sorted(found, key=lambda kept: kept.id)]

    async def stale_dispatches(self, *, older_than: float, limit: int) -> Sequence[Execution]:
        before = self._clock.now() - timedelta(seconds=older_than)
        handed_over = [kept for kept in self._in(Status.ACCEPTED) if kept.has_slot and kept.execution.flow_run_id]
        stale = sorted((kept.dispatched_at, kept.id) for kept in handed_over if kept.dispatched_at is not None)
        return [self._executions[execution_id].light() for at, execution_id in stale if at < before][:limit]

    async def undispatch(self, execution_id: str) -> None:
        kept = self._executions.get(execution_id)
        if kept is not None and kept.status is Status.ACCEPTED:
            kept.change(flow_run_id=None)
            kept.dispatched_at = kept.claimed_until = None

    async def executions_of_flow_runs(self, flow_run_ids: Sequence[str]) -> Mapping[str, Execution]:
        oldest_first = sorted(self._executions.values(), key=lambda kept: kept.id)
        runs = {kept.execution.shown_as: kept for kept in oldest_first}
        return {run: runs[run].light() for run in flow_run_ids if run in runs}
