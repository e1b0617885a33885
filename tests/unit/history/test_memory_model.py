"""Whatever callers do, in whatever order, the history in memory is what a simple model says."""

from __future__ import annotations

from history_model import HistoryMachine
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from flows.history import MemoryStore
from foundation.clock import ManualClock


def test_the_history_in_memory_is_what_the_model_says() -> None:
    run_state_machine_as_test(
        lambda: HistoryMachine(lambda: MemoryStore(ManualClock())),
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None, database=None),
    )
