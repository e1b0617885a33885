"""`Notices` in memory: within this process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from flows.history.memory.state import MemoryState
from flows.history.notices import Topic


class MemoryNotices(MemoryState):
    def announce(self, topic: Topic, text: str = "") -> None:
        self._notices.announce(topic, text)

    def listening(self, topic: Topic, callback: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        return self._notices.listening(topic, callback)
