"""The inbox: durable accepts per second, many at once (one commit for those that come together) against one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from flows.history import HistoryStore, NewExecution, Trigger, open_store
from flows.history.migrations import upgrade
from foundation.ids import new_id

COUNT = 400


def measure(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    together, alone = asyncio.run(_measure(f"sqlite:///{folder / 'accepting.db'}"))
    what = f"durable accepts on SQLite, {COUNT} at once"
    yield what, f"{together:.0f}/s", f"one commit each {alone:.0f}/s", f"{together / alone:.0f}×"


async def _measure(url: str) -> tuple[float, float]:
    await upgrade(url)
    store = open_store(url)
    await store.open()
    try:
        await store.accept([_execution()])
        started = time.perf_counter()
        await asyncio.gather(*(store.accept([_execution()]) for _ in range(COUNT)))
        together = COUNT / (time.perf_counter() - started)
        return together, await _one_by_one(store)
    finally:
        await store.close()


async def _one_by_one(store: HistoryStore) -> float:
    started = time.perf_counter()
    for _ in range(COUNT // 4):
        await store.accept([_execution()])
    return COUNT // 4 / (time.perf_counter() - started)


def _execution() -> NewExecution:
    now, own = datetime.now(UTC), new_id()
    event = {"id": own, "body": {"n": 1}, "headers": {"content-type": "application/json"}}
    return NewExecution(own, "bench", "v1", Trigger.WEBHOOK, event, accepted_at=now, dedupe_keys=[own])
