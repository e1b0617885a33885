"""`Callers` in memory."""

from __future__ import annotations

from datetime import timedelta

from flows.history.memory.state import MemoryState


class MemoryCallers(MemoryState):
    async def note_caller(self, execution_id: str, waiter: str, *, seconds: float) -> None:
        self._callers[execution_id, waiter] = self._clock.now() + timedelta(seconds=seconds)

    async def forget_caller(self, execution_id: str, waiter: str) -> bool:
        self._callers.pop((execution_id, waiter), None)
        now = self._clock.now()
        return not any(of == execution_id and until > now for (of, _), until in self._callers.items())
