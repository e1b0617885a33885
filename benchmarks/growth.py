"""What an execution costs in a history of a thousand, a hundred thousand, a million: `python -m benchmarks.growth URL`.

The URL is of empty databases: `sqlite:////tmp/growth-{size}.db`, or `postgresql://…/growth_{size}`, which must exist.
Beside those that have ended, a tenth as many wait, of 500 workflows.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from benchmarks.filling import fill
from flows.history import (
    Execution,
    HistoryStore,
    NewExecution,
    Status,
    StepExecution,
    Trigger,
    WaitKind,
    WorkflowVersion,
    migrations,
    open_store,
)
from foundation.ids import new_id

SIZES = (1_000, 100_000, 1_000_000)
WORKFLOWS = 500
ROUNDS = 31

Times = dict[str, list[float]]
"""Milliseconds, by what was done."""


async def measure(url: str, sizes: Sequence[int] = SIZES) -> list[dict[str, float]]:
    """For each size, the median of each call in milliseconds.

    Args:
        url: of the empty databases, with `{size}` where their names differ.
    """
    stores = [await _filled(url.format(size=size), size) for size in sizes]
    try:
        return await _side_by_side(stores)
    finally:
        for store in stores:
            await store.close()


async def _filled(url: str, size: int) -> HistoryStore:
    await migrations.upgrade(url)
    await fill(url, size, workflows=WORKFLOWS)
    store = open_store(url)
    await store.open()
    await _publish(store)
    await _let_wait(store, size // 10)
    return store


async def _side_by_side(stores: Sequence[HistoryStore]) -> list[dict[str, float]]:
    """Round by round, so that whatever else the machine does is in all of them."""
    times: list[Times] = [defaultdict(list) for _ in stores]
    for _ in range(ROUNDS):
        for store, its in zip(stores, times, strict=True):
            await _live(store, its)
            await _look(store, its)
    return [{what: statistics.median(its) for what, its in of_store.items()} for of_store in times]


async def _publish(store: HistoryStore) -> None:
    for number in range(WORKFLOWS):
        await store.publish(_version(f"workflow-{number}", limit=0))
    await store.publish(_version("lively", limit=10))


def _version(workflow: str, limit: int) -> WorkflowVersion:
    return WorkflowVersion(workflow, "v1", "yaml", "", "", declaration={"concurrency": {"limit": limit}})


async def _let_wait(store: HistoryStore, count: int) -> None:
    new = [_execution(f"workflow-{number % WORKFLOWS}") for number in range(count)]
    for first in range(0, len(new), 1_000):
        await store.accept(new[first : first + 1_000])


def _execution(workflow: str) -> NewExecution:
    own = new_id()
    event = {"id": own, "body": {"text": "x" * 900}, "headers": {}, "query": {}}
    return NewExecution(own, workflow, "v1", Trigger.WEBHOOK, event, accepted_at=datetime.now(UTC), dedupe_keys=[own])


@contextmanager
def _timed(times: Times, what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    times[what].append((time.perf_counter() - started) * 1000)


async def _live(store: HistoryStore, times: Times) -> None:
    """One execution, from its event to its end."""
    new = _execution("lively")
    with _timed(times, "accept"):
        await store.accept([new])
    with _timed(times, "admit"):
        [admitted] = await store.admit(limit=10, claim=60)
    with _timed(times, "dispatched"):
        await store.dispatched({admitted.id: f"run-of-{admitted.id}"})
    with _timed(times, "begin"):
        begun = await store.begin(new.id, flow_run_id=None, owner="host/1", lease=60)
    assert isinstance(begun, Execution)
    with _timed(times, "step"):
        await store.save_steps(begun.hold, [StepExecution("notify", "http.request", Status.SUCCEEDED, output={"n": 1})])
    with _timed(times, "renew"):
        await store.renew([begun.hold], lease=60)
    with _timed(times, "finish"):
        await store.finish(begun.hold, Status.SUCCEEDED, output={"n": 1})
    with _timed(times, "show"):
        await store.execution(new.id)


async def _look(store: HistoryStore, times: Times) -> None:
    """What people, the gateway and the worker ask again and again."""
    lately = datetime.now(UTC) + timedelta(hours=1)  # there are none: so all would be looked at
    page = await store.executions(workflow="workflow-0", limit=1)
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "list": lambda: store.executions(),
        "list, of a workflow": lambda: store.executions(workflow="workflow-0"),
        "list, by status": lambda: store.executions(status=Status.FAILED),
        "list, of a workflow by status": lambda: store.executions(workflow="workflow-400", status=Status.TIMED_OUT),
        "list, since lately": lambda: store.executions(since=lately),
        "list, of a workflow by status since lately": lambda: store.executions(
            workflow="workflow-0", status=Status.SUCCEEDED, since=lately
        ),
        "list, behind a cursor": lambda: store.executions(cursor=page.next_cursor),
        "execution of a flow run": lambda: store.execution_of_flow_run("run-of-none"),
        "finished": lambda: store.finished([one.id for one in page.items]),
        "backlog": lambda: store.backlog(),
        "oldest accepted": lambda: store.oldest_accepted(),
        "counts of what has not ended": lambda: store.counts(ended=False),
        "counts": lambda: store.counts(),
        "expired": lambda: store.expired(),
        "owned": lambda: store.owned("host/"),
        "stale dispatches": lambda: store.stale_dispatches(older_than=30, limit=1000),
        "open waits": lambda: store.open_waits(WaitKind.APPROVAL, limit=50),
        "end of newest 100": lambda: store.end_of_newest(100),
        "forget deliveries": lambda: store.forget_deliveries(limit=200),
        "prune 10": lambda: store.prune(before=lately - timedelta(days=20), limit=10),
    }
    for what, ask in asked.items():
        with _timed(times, what):
            await ask()


def main() -> None:
    for url in sys.argv[1:]:
        found = asyncio.run(measure(url))
        print(f"\n| {url.partition(':')[0]}, ms | {' | '.join(f'{size:,}' for size in SIZES)} | ratio |")
        print(f"| --- |{' ---: |' * (len(SIZES) + 1)}")
        for what, first in found[0].items():
            numbers = " | ".join(f"{times[what]:.1f}" for times in found)
            print(f"| {what} | {numbers} | {found[-1][what] / first:.1f}× |")


if __name__ == "__main__":
    main()
