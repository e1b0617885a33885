"""`Inbox` in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from flows.history.memory.state import Kept, MemoryState, kept_execution
from flows.history.records import Accepted, NewExecution, Status


class MemoryInbox(MemoryState):
    async def accept(self, new: Sequence[NewExecution]) -> Sequence[Accepted]:
        kept = [kept_execution(one, self._limits) for one in new]  # first: what can't be stored must store no neighbour
        return [self._accept(one, row) for one, row in zip(new, kept, strict=True)]

    def _accept(self, new: NewExecution, kept: Kept) -> Accepted:
        for key in new.dedupe_keys:
            if (holder := self._holder(key)) is not None:
                return Accepted(holder, duplicate=True)
        self._deliveries |= dict.fromkeys(new.dedupe_keys, (new.id, new.dedupe_until))
        if new.id in self._executions:
            return Accepted(new.id, duplicate=True)
        self._executions[new.id] = kept
        return Accepted(new.id, duplicate=False)

    def _holder(self, key: str) -> str | None:
        """The execution that the delivery made, unless its time is over."""
        holder, until = self._deliveries.get(key, (None, None))
        return holder if until is None or until > self._clock.now() else None

    async def backlog(self) -> Mapping[str, int]:
        return Counter(kept.execution.workflow for kept in self._in(Status.ACCEPTED))

    async def oldest_accepted(self) -> datetime | None:
        oldest = min(self._in(Status.ACCEPTED), key=lambda kept: kept.id, default=None)
        return oldest.execution.accepted_at if oldest else None
