"""The in-memory history keeps the contract of every history."""

from __future__ import annotations

import pytest
from store_suite import StoreSuite

from flows.history import MemoryStore
from foundation.clock import ManualClock


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self, clock: ManualClock) -> MemoryStore:
        return MemoryStore(clock)
