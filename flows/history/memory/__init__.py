"""The history in memory: `SqlStore`'s twin for tests. What it keeps is gone with the process."""

from __future__ import annotations

from flows.history.memory.archive import MemoryArchive
from flows.history.memory.callers import MemoryCallers
from flows.history.memory.catalogue import MemoryCatalogue
from flows.history.memory.inbox import MemoryInbox
from flows.history.memory.notices import MemoryNotices
from flows.history.memory.polls import MemoryPolls
from flows.history.memory.recording import MemoryRecording
from flows.history.memory.running import MemoryRunning
from flows.history.memory.takeover import MemoryTakeover
from flows.history.memory.tokens import MemoryStoreTokens

__all__ = ["MemoryStore"]


class MemoryStore(
    MemoryCatalogue,
    MemoryPolls,
    MemoryInbox,
    MemoryRunning,
    MemoryTakeover,
    MemoryRecording,
    MemoryCallers,
    MemoryNotices,
    MemoryStoreTokens,
    MemoryArchive,
):
    """`HistoryStore` in dicts. Methods await nothing, so each is atomic within its event loop.

    Args:
        clock: stands for the database's clock, too.
    """

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Keeps what it has: a test may look at it afterwards."""

    async def ping(self) -> None:
        """Always there."""
