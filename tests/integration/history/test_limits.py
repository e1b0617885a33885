"""A workflow's limit over several processes that admit, begin and end at once; and deliveries that share keys."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from store_builders import a_version, accepted, an_execution

from flows.history import Execution, Key, Status
from flows.history.sql import SqlStore

_ROOT = Path(__file__).parents[3]
LIMIT = 3


_PROCESS = """
import asyncio, sys
from flows.history import Execution, Status, open_store

async def main(url, name):
    store = open_store(url)
    await store.open()

    async def run(execution_id):
        execution = await store.begin(execution_id, flow_run_id=None, owner=name, lease=60)
        if isinstance(execution, Execution):
            await asyncio.sleep(0.001)
            assert await store.finish(execution.hold, Status.SUCCEEDED)

    print("ready", flush=True)
    sys.stdin.readline()
    while (await store.backlog()):
        page = await store.executions(status=Status.ACCEPTED, limit=5)
        unadmitted = [one.id for one in page.items[:2]]  # as runs that Prefect made begin: in no order
        admitted = [one.id for one in await store.admit(limit=4, claim=60)]
        await asyncio.gather(*(run(execution_id) for execution_id in {*admitted, *unadmitted}))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


CUSTOMER = "event.body.customer"


async def test_processes_that_admit_and_begin_at_once_never_exceed_a_limit(
    stores: tuple[SqlStore, SqlStore], history_url: str
) -> None:
    store, keys = stores[0], dict[str, Key]()
    by_key = [{"limit": 6}, {"limit": 2, "key": CUSTOMER}]
    throttle = {"limit": 1, "per": 0.05, "burst": 4, "key": CUSTOMER}
    await store.publish(a_version(workflow="a", declaration={"concurrency": {"limit": LIMIT}}))
    await store.publish(a_version(workflow="keyed", declaration={"concurrency": by_key}))
    await store.publish(a_version(workflow="throttled", declaration={"throttle": throttle}))
    new = [an_execution(workflow="a") for _ in range(40)]
    for workflow, rule in (("keyed", "concurrency"), ("throttled", "throttle")):
        for n in range(30):
            key = Key.made(rule, CUSTOMER, str(n % 3))  # type: ignore[arg-type]  # one of them
            new.append(an_execution(workflow=workflow, keys=[key]))
            keys[new[-1].id] = key
    await store.accept(new)
    await admit_and_begin_in_two_processes(history_url)

    assert await store.counts() == {Status.SUCCEEDED: 100}
    ran = {workflow: (await store.executions(workflow=workflow, limit=100)).items for workflow in ("a", "keyed")}
    assert 1 < most_at_once(ran["a"]) <= LIMIT
    assert 2 < most_at_once(ran["keyed"]) <= 6
    for key in set(keys.values()):
        assert 1 <= most_at_once([one for one in ran["keyed"] if keys[one.id] == key] or ran["keyed"][:1]) <= 2
    for key in set(keys.values()):
        throttled = (await store.executions(workflow="throttled", limit=100)).items
        starts = sorted(one.admitted_at for one in throttled if keys[one.id] == key and one.admitted_at)
        intervals = [late - early for early, late in zip(starts, starts[4:], strict=False)]
        assert all(one >= timedelta(seconds=0.05) for one in intervals), "a burst of four, then one at a time"


async def admit_and_begin_in_two_processes(history_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, history_url, name],
            env={"PYTHONPATH": f"{_ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in ("one", "two")
    ]
    for process in processes:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        await asyncio.to_thread(process.communicate)
    assert [process.returncode for process in processes] == [0, 0]


def most_at_once(executions: object) -> int:
    """How many had a slot at the same time. A slot is free before the next admission reads the clock."""
    changes: list[tuple[datetime, int]] = []
    assert isinstance(executions, list)
    for execution in executions:
        assert execution.admitted_at is not None
        assert execution.finished_at is not None
        changes += [(execution.admitted_at, 1), (execution.finished_at, -1)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


async def test_two_that_begin_the_last_slot_at_once(stores: tuple[SqlStore, SqlStore]) -> None:
    for round_ in range(15):
        workflow = f"w{round_}"
        await stores[0].publish(a_version(workflow=workflow, declaration={"concurrency": {"limit": 1}}))
        ids = [await accepted(stores[0], workflow=workflow) for _ in range(4)]

        results = await asyncio.gather(
            *(
                store.begin(execution_id, flow_run_id=None, owner="host/1", lease=60)
                for store, execution_id in zip(stores * 2, ids, strict=True)
            )
        )

        assert len([result for result in results if isinstance(result, Execution)]) == 1


async def test_a_limit_that_is_lowered_while_others_admit_holds_from_then_on(
    stores: tuple[SqlStore, SqlStore],
) -> None:
    one, other = stores
    for round_ in range(10):
        workflow = f"w{round_}"
        await one.publish(a_version(workflow=workflow, declaration={"concurrency": {"limit": 50}}))
        await one.accept([an_execution(workflow=workflow) for _ in range(10)])

        async def lower(workflow: str = workflow) -> int:
            await other.set_limit(workflow, 0)
            return await admitted(other, workflow)

        _, when_lowered = await asyncio.gather(one.admit(limit=5, claim=60), lower())
        await one.admit(limit=5, claim=60)

        assert await admitted(other, workflow) == when_lowered


async def admitted(store: SqlStore, workflow: str) -> int:
    page = await store.executions(workflow=workflow, limit=100)
    return len([one for one in page.items if one.admitted_at is not None])


async def test_of_deliveries_that_share_one_key_in_two_processes_one_is_executed(
    stores: tuple[SqlStore, SqlStore],
) -> None:
    """Each delivery comes with its id and a hash: sometimes only the one, sometimes only the other is the same."""
    pairs = [((f"id-{n}", f"hash-{n}"), (f"id-{n}", f"other-{n}")) for n in range(15)]
    pairs += [((f"mine-{n}", f"same-{n}"), (f"yours-{n}", f"same-{n}")) for n in range(15)]

    ours, theirs = await asyncio.gather(
        asyncio.gather(*(stores[0].accept([an_execution(dedupe_keys=mine)]) for mine, _ in pairs)),
        asyncio.gather(*(stores[1].accept([an_execution(dedupe_keys=yours)]) for _, yours in pairs[::-1])),
    )

    for (mine,), (yours,) in zip(ours, theirs[::-1], strict=True):
        assert mine.execution_id == yours.execution_id
        assert {mine.duplicate, yours.duplicate} == {True, False}
    assert await stores[0].counts() == {Status.ACCEPTED: 30}


async def test_deliveries_chained_by_shared_keys_make_what_some_order_of_them_makes(
    stores: tuple[SqlStore, SqlStore],
) -> None:
    """a-b, b-c, c-d …: one that is refused takes none of its other keys from its neighbours."""
    for round_ in range(10):
        keys = [f"{round_}-{n}" for n in range(9)]
        new = [an_execution(dedupe_keys=pair) for pair in pairwise(keys)]
        even, odd = await asyncio.gather(stores[0].accept(new[::2]), stores[1].accept(new[1::2]))

        first = {answer.execution_id for answer in [*even, *odd] if not answer.duplicate}
        for delivery, answer in zip(new[::2] + new[1::2], [*even, *odd], strict=True):
            owners = [other.id for other in new if set(other.dedupe_keys) & set(delivery.dedupe_keys)]
            assert answer.execution_id in first & set(owners)
            assert len(first & set(owners)) <= (1 if delivery.id in first else 2)
