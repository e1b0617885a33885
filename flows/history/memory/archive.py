"""`Archive` in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from flows.history.memory.lanes import MemoryLanes
from flows.history.records import Execution, Page, Status


class MemoryArchive(MemoryLanes):
    async def execution(self, execution_id: str) -> Execution | None:
        kept = self._executions.get(execution_id)
        return replace(kept.whole(), replayed_by=self._replayed_by(execution_id)) if kept else None

    async def execution_of_flow_run(self, flow_run_id: str) -> Execution | None:
        found = [kept.id for kept in self._newest_first() if kept.execution.shown_as == flow_run_id]
        return await self.execution(found[0]) if found else None

    async def version_of(self, execution_id: str) -> str | None:
        kept = self._executions.get(execution_id)
        return kept.execution.version if kept else None

    async def finished(self, execution_ids: Sequence[str]) -> Mapping[str, Execution]:
        known = [self._executions[execution_id] for execution_id in execution_ids if execution_id in self._executions]
        return {kept.id: kept.ended() for kept in known if kept.status.is_final}

    async def executions(
        self,
        *,
        workflow: str | None = None,
        status: Status | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        found = [
            replace(kept.light(), replayed_by=self._replayed_by(kept.id))
            for kept in self._newest_first()
            if (workflow is None or kept.execution.workflow == workflow)
            and (status is None or kept.status is status)
            and (since is None or kept.execution.accepted_at >= since)
            and (cursor is None or kept.id < cursor)
        ]
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def counts(self, *, ended: bool = True) -> Mapping[Status, int]:
        return Counter(kept.status for kept in self._executions.values() if ended or not kept.status.is_final)

    async def request_cancel(self, execution_id: str, *, by: str, reason: str) -> Execution | None:
        kept = self._executions.get(execution_id)
        if kept is None:
            return None
        self._request_cancel(kept, {"by": by, "reason": reason})
        return kept.ended()

    async def prune(self, *, before: datetime, limit: int) -> int:
        ended = ((kept.execution.finished_at, kept.id) for kept in self._executions.values())
        old = sorted((at, execution_id) for at, execution_id in ended if at is not None and at < before)[:limit]
        for _, execution_id in old:
            del self._executions[execution_id]
        return len(old)

    async def end_of_newest(self, count: int) -> datetime | None:
        ends = sorted(kept.execution.finished_at for kept in self._executions.values() if kept.execution.finished_at)
        return ends[-count] if len(ends) > count else None

    async def forget_deliveries(self, *, limit: int) -> int:
        now = self._clock.now()
        over = [key for key, (_, until) in self._deliveries.items() if until is not None and until <= now][:limit]
        for key in over:
            del self._deliveries[key]
        self._callers = {note: until for note, until in self._callers.items() if until > now}
        self._kept_answers = {address: one for address, one in self._kept_answers.items() if one.expires_at > now}
        return len(over)

    async def compact(self) -> bool:
        return False

    def _replayed_by(self, execution_id: str) -> str | None:
        replays = [kept.id for kept in self._executions.values() if kept.execution.replay_of == execution_id]
        return max(replays, default=None)
