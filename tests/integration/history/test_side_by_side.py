"""Several processes on one history: gateways, workers, the command line."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from store_builders import SECOND, T0, a_version, accepted, admitted, an_execution, begin, hold_of, running

from flows.history import Accepted, Execution, NewWait, Refusal, Status, WaitKind, step_address
from flows.history.sql import SqlStore

_ROOT = Path(__file__).parents[3]


async def test_of_two_gateways_with_one_delivery_one_makes_the_execution(stores: tuple[SqlStore, SqlStore]) -> None:
    keys = [f"delivery-{n}" for n in range(30)]

    async def deliver(store: SqlStore, order: list[str]) -> dict[str, Accepted]:
        answers = await asyncio.gather(*(store.accept([an_execution(dedupe_keys=[key])]) for key in order))
        return dict(zip(order, (answer for (answer,) in answers), strict=True))

    ours, theirs = await asyncio.gather(deliver(stores[0], keys), deliver(stores[1], keys[::-1]))

    for key in keys:
        assert ours[key].execution_id == theirs[key].execution_id
        assert {ours[key].duplicate, theirs[key].duplicate} == {True, False}
    assert await stores[0].counts() == {Status.ACCEPTED: len(keys)}


async def test_two_dispatchers_share_out_the_executions(stores: tuple[SqlStore, SqlStore]) -> None:
    await stores[0].publish(a_version(declaration={"concurrency": {"limit": 50}}))
    waiting = [await accepted(stores[0], accepted_at=T0 + SECOND * n) for n in range(40)]

    shares = await asyncio.gather(*(admitted(store, limit=5) for store in stores * 4))

    assert sorted(execution_id for share in shares for execution_id in share) == waiting


async def test_writers_that_take_the_same_rows_in_opposite_order_both_succeed(
    stores: tuple[SqlStore, SqlStore],
) -> None:
    one, other = stores
    both = [await accepted(one, workflow=f"w{n % 4}") for n in range(20)]

    results = await asyncio.gather(
        *(begin(one, execution_id, owner="one/1", lease=0) for execution_id in both),
        *(begin(other, execution_id, owner="other/1", lease=0) for execution_id in both[::-1]),
    )

    assert sorted(execution.runs for execution in results if isinstance(execution, Execution)) == [1] * 20 + [2] * 20


async def test_of_two_processes_that_begin_an_execution_one_has_it(stores: tuple[SqlStore, SqlStore]) -> None:
    both = [await accepted(stores[0], workflow=f"w{n % 4}") for n in range(20)]

    results = await asyncio.gather(
        *(begin(stores[0], execution_id, owner="one/1") for execution_id in both),
        *(begin(stores[1], execution_id, owner="other/1") for execution_id in both[::-1]),
    )

    assert [result for result in results if isinstance(result, Refusal)] == [Refusal.HELD] * 20
    begun = [result for result in results if isinstance(result, Execution)]
    assert sorted(execution.id for execution in begun) == both
    assert {execution.runs for execution in begun} == {1}


async def test_an_answer_finds_who_is_just_beginning_to_wait(stores: tuple[SqlStore, SqlStore]) -> None:
    one, other = stores
    ids = [await running(one, workflow=f"w{n % 4}") for n in range(30)]
    holds = [await hold_of(one, execution_id) for execution_id in ids]
    waits = [[NewWait("ask", WaitKind.CALLBACK, step_address(execution_id, "ask"))] for execution_id in ids]

    await asyncio.gather(
        *(one.park(hold, wait) for hold, wait in zip(holds, waits, strict=True)),
        *(other.answer(step_address(execution_id, "ask"), 1, by=None, keep=60) for execution_id in ids[::-1]),
    )

    assert await one.counts() == {Status.ACCEPTED: len(ids)}


async def test_of_several_processes_that_wake_one_ends_each_wait(stores: tuple[SqlStore, SqlStore]) -> None:
    for n in range(20):
        execution_id = await running(stores[0], workflow=f"w{n % 4}")
        await stores[0].park(await hold_of(stores[0], execution_id), [NewWait("pause", WaitKind.TIME, due_at=T0)])

    woken = await asyncio.gather(*(store.wake(limit=7) for store in stores * 4))

    assert sum(woken) == 20
    assert await stores[0].counts() == {Status.ACCEPTED: 20}


_PROCESS = """
import asyncio, os, signal, sys
from store_builders import an_execution
from flows.history import open_store

async def main(url, name, how_many):
    store = open_store(url)
    await store.open()
    for n in range(how_many):
        batch = [an_execution(id=f"{name}-{n}-{m}", dedupe_keys=[f"{n}-{m}"]) for m in range(3)]
        await asyncio.gather(*(store.accept([new]) for new in batch))
    print("durable", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def test_what_killed_processes_have_accepted_is_there_once(history_url: str) -> None:
    path = {"PYTHONPATH": f"{_ROOT}:{_ROOT / 'tests'}"}
    processes = [
        subprocess.Popen([sys.executable, "-c", _PROCESS, history_url, name, "20"], env=path, stdout=subprocess.PIPE)
        for name in ("one", "two")
    ]
    outputs = [(await asyncio.to_thread(process.communicate))[0] for process in processes]

    assert outputs == [b"durable\n"] * 2
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2
    store = SqlStore(history_url)
    await store.open()
    assert await store.counts() == {Status.ACCEPTED: 60}
    assert len((await store.executions(limit=100)).items) == 60
    await store.close()
