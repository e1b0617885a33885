"""`on_disconnect: cancel` over two gateways: what someone waits for anywhere goes on."""

from __future__ import annotations

import asyncio

import pytest
from gateway_under_test import ORDERS, Gateway, gateway
from test_hooks_finished import hang_up

from flows.history import MemoryStore, Status
from foundation.clock import ManualClock
from foundation.errors import StorageUnavailable
from ipaas.gateway.callers import Callers

WAITING = (
    ORDERS.replace("auth: none", "auth: none, dedupe: same") + "respond: {when: finished, on_disconnect: cancel}\n"
)


async def status_of(under_test: Gateway, execution_id: str) -> Status:
    execution = await under_test.store.execution(execution_id)
    assert execution
    return execution.status


async def noted(store: MemoryStore, count: int) -> None:
    async with asyncio.timeout(5):
        while len(store._callers) < count:
            await asyncio.sleep(0.001)


async def test_a_caller_at_another_gateway_keeps_the_execution_alive():
    store = MemoryStore(ManualClock())
    async with gateway(WAITING, store=store) as one, gateway(WAITING, store=store) as other:
        elsewhere = asyncio.create_task(other.post({}))
        execution_id = await other.accepted()
        await noted(store, 1)
        assert await hang_up(one) == execution_id
        assert await status_of(one, execution_id) is Status.ACCEPTED
        await one.end(execution_id, output="done")
        assert (await elsewhere).text == "done"


async def test_the_last_of_all_callers_cancels():
    store = MemoryStore(ManualClock())
    async with gateway(WAITING, store=store) as one, gateway(WAITING, store=store) as other:
        execution_id = await hang_up(one)
        assert await status_of(one, execution_id) is Status.CANCELLED
        assert (await other.post({})).status_code == 500


async def test_a_caller_that_was_told_to_come_back_does_not_count():
    text = WAITING.replace("on_disconnect", "timeout: 10ms, on_disconnect")
    store = MemoryStore(ManualClock())
    async with gateway(text, store=store) as one, gateway(WAITING, store=store) as other:
        assert (await one.post({})).status_code == 202
        assert store._callers == {}
        execution_id = await hang_up(other)
        assert await status_of(one, execution_id) is Status.CANCELLED


async def test_a_gateway_that_died_keeps_nothing_alive_for_ever():
    clock = ManualClock()
    store = MemoryStore(clock)
    dead, alive = Callers(store), Callers(store)
    await dead.arrived("e1", 25)
    await alive.arrived("e1", 25)
    assert await alive.left("e1", has_ended=False) is False
    clock.move(seconds=31)
    await alive.arrived("e1", 25)
    assert await alive.left("e1", has_ended=False) is True


async def test_several_callers_here_are_counted_here():
    callers = Callers(MemoryStore(ManualClock()))
    await callers.arrived("e1", 25)
    await callers.arrived("e1", 25)
    assert [await callers.left("e1", has_ended=False) for _ in range(2)] == [False, True]


async def test_while_nobody_knows_it_goes_on(caplog: pytest.LogCaptureFixture):
    class Away(MemoryStore):
        async def forget_caller(self, execution_id: str, waiter: str) -> bool:
            raise StorageUnavailable("away")

    callers = Callers(Away(ManualClock()))
    await callers.arrived("e1", 25)
    assert await callers.left("e1", has_ended=False) is False
    assert "nobody knows whether others wait" in caplog.text
