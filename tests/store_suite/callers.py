"""What every history does for callers that wait for an execution's end: a part of `StoreSuite`."""

from __future__ import annotations

import asyncio

from flows.history import HistoryStore
from foundation.clock import ManualClock


class CallersSuite:
    async def test_the_last_caller_who_leaves_is_told_so(self, store: HistoryStore) -> None:
        for waiter in ("a", "b"):
            await store.note_caller("e1", waiter, seconds=30)
        await store.note_caller("e2", "c", seconds=30)

        assert await store.forget_caller("e1", "a") is False
        assert await store.forget_caller("e1", "b") is True

    async def test_of_two_who_leave_at_once_one_is_the_last(self, store: HistoryStore) -> None:
        for waiter in ("a", "b"):
            await store.note_caller("e1", waiter, seconds=30)

        left = await asyncio.gather(*(store.forget_caller("e1", waiter) for waiter in ("a", "b")))

        assert sorted(left) == [False, True]

    async def test_a_caller_whose_time_is_over_does_not_count(self, store: HistoryStore, clock: ManualClock) -> None:
        await store.note_caller("e1", "died", seconds=30)
        clock.move(seconds=20)
        await store.note_caller("e1", "a", seconds=30)
        assert await store.forget_caller("e1", "a") is False
        clock.move(seconds=11)
        await store.note_caller("e1", "a", seconds=30)

        assert await store.forget_caller("e1", "a") is True

    async def test_a_second_note_replaces_the_first(self, store: HistoryStore, clock: ManualClock) -> None:
        await store.note_caller("e1", "a", seconds=30)
        clock.move(seconds=20)
        await store.note_caller("e1", "a", seconds=30)
        clock.move(seconds=20)

        assert await store.forget_caller("e1", "b") is False
        assert await store.forget_caller("e1", "a") is True

    async def test_notes_whose_time_is_over_are_forgotten_with_old_deliveries(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await store.note_caller("e1", "a", seconds=30)
        clock.move(seconds=31)
        await store.forget_deliveries(limit=10)
        clock.move(seconds=-31)

        assert await store.forget_caller("e1", "b") is True
