"""`TokenStore` in memory."""

from __future__ import annotations

from blocks.token_state import MemoryTokens
from flows.history.memory.state import MemoryState
from flows.history.records import Limits
from foundation.clock import Clock


class MemoryStoreTokens(MemoryState, MemoryTokens):
    def __init__(self, clock: Clock | None = None, limits: Limits | None = None) -> None:
        MemoryState.__init__(self, clock, limits)
        MemoryTokens.__init__(self, self._clock)
