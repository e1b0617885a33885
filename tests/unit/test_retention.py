"""Retention: what ended long ago goes, in small steps; what waits or runs stays."""

from __future__ import annotations

from datetime import datetime

import pytest
from store_builders import DAY, HOUR, T0, a_version, accepted, an_execution, ended, ids, running

from flows.history import MemoryStore
from foundation.clock import ManualClock
from ipaas.platform.retention import KEPT_VERSIONS, prune


class CountingStore(MemoryStore):
    """Remembers how many executions each transaction was to delete."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.batches: list[int] = []

    async def prune(self, *, before: datetime, limit: int) -> int:
        gone = await super().prune(before=before, limit=limit)
        self.batches.append(gone)
        return gone


A_DAY = DAY.total_seconds()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0 + 31 * DAY)


@pytest.fixture
def store(clock: ManualClock) -> CountingStore:
    return CountingStore(clock)


async def ended_at(at: datetime, store: CountingStore, clock: ManualClock) -> str:
    """An execution that ended then."""
    away = (at - clock.now()).total_seconds()
    clock.move(seconds=away)
    execution_id = await ended(store)
    clock.move(seconds=-away)
    return execution_id


async def test_only_what_ended_longer_ago_goes(store: CountingStore, clock: ManualClock) -> None:
    await ended_at(T0, store, clock)
    kept = [await ended_at(T0 + DAY, store, clock), await accepted(store), await running(store)]

    assert await prune(store, clock, older_than=30 * A_DAY) == 1

    assert ids((await store.executions()).items) == kept[::-1]


async def test_more_than_are_kept_go_even_when_they_are_young(store: CountingStore, clock: ManualClock) -> None:
    executions = [await ended_at(T0 + 30 * DAY + n * HOUR, store, clock) for n in range(5)]
    waiting = await accepted(store)

    assert await prune(store, clock, older_than=30 * A_DAY, keep=2) == 3

    assert ids((await store.executions()).items) == [waiting, executions[4], executions[3]]


async def test_old_versions_go_but_for_the_newest(store: CountingStore, clock: ManualClock) -> None:
    for number in range(KEPT_VERSIONS + 5):
        version = a_version(f"v{number:02}", created_at=T0 + number * HOUR)
        await store.publish(version)

    await prune(store, clock, older_than=30 * A_DAY)

    left = [one.version for one in await store.versions("orders")]
    assert left == [f"v{number:02}" for number in range(KEPT_VERSIONS + 4, 4, -1)]


async def test_fewer_than_are_kept_go_when_they_are_old(store: CountingStore, clock: ManualClock) -> None:
    await ended_at(T0, store, clock)

    assert await prune(store, clock, older_than=30 * A_DAY, keep=100) == 1


async def test_it_goes_in_small_steps_with_pauses(store: CountingStore, clock: ManualClock) -> None:
    for _ in range(5):
        await ended_at(T0, store, clock)

    assert await prune(store, clock, older_than=A_DAY, batch=2) == 5

    assert store.batches == [2, 2, 1]
    assert len(clock.slept) == 2


async def test_deliveries_whose_time_is_over_are_forgotten(store: CountingStore, clock: ManualClock) -> None:
    await store.accept([an_execution(dedupe_keys=(f"k{n}",), dedupe_until=T0 + HOUR) for n in range(5)])

    await prune(store, clock, older_than=A_DAY, batch=2)

    assert await store.forget_deliveries(limit=10) == 0


async def test_a_retention_longer_than_time_itself_keeps_all(store: CountingStore, clock: ManualClock) -> None:
    await ended_at(T0, store, clock)

    assert await prune(store, clock, older_than=1e300) == 0
