"""The in-memory history keeps the contract of every history."""

from __future__ import annotations

import pytest
from store_suite import StoreSuite

from blocks.clock import ManualClock
from flows.history import MemoryStore


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self, clock: ManualClock) -> MemoryStore:
        return MemoryStore(clock)
