"""`Recording` in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flows.history.memory.state import MemoryState
from flows.history.records import Execution, Mode


class MemoryRecording(MemoryState):
    async def unrecorded(self, *, limit: int) -> Sequence[Execution]:
        wholes = [kept.whole() for kept in self._executions.values() if kept.execution.mode is Mode.EXPRESS]
        ended = [(one.finished_at, one.id, one) for one in wholes if one.finished_at and one.recorded_at is None]
        return [one for *_, one in sorted(ended, key=lambda each: each[:2])][:limit]

    async def note_recorded(self, execution_ids: Sequence[str], *, at: datetime) -> None:
        for execution_id in execution_ids:
            if (kept := self._executions.get(execution_id)) and kept.status.is_final:
                kept.change(recorded_at=at)

    async def last_recorded(self) -> datetime | None:
        return max((at for kept in self._executions.values() if (at := kept.execution.recorded_at)), default=None)

    async def forget_recorded(self, *, after: datetime | None, limit: int) -> int:
        known = [(kept, kept.execution.recorded_at) for kept in self._executions.values()]
        later = [kept for kept, at in known if at and (after is None or at > after)][:limit]
        for kept in later:
            kept.change(recorded_at=None)
        return len(later)
