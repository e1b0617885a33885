"""Events whose workflow has keys: each is answered 202 with an execution of its own, whatever becomes of that."""

from __future__ import annotations

from typing import Any

from gateway_under_test import ORDERS, Gateway, gateway

from flows.history import Status

KEYED = ORDERS + "concurrency: [{limit: 9}, {limit: 1, key: event.body.customer, overflow: latest}]\n"
DEBOUNCED = ORDERS + "debounce: {quiet: 10s, key: event.body.customer}\n"
PRIORITY = ORDERS + 'concurrency: 1\npriority: "60 if event.body.vip else 0"\n'


async def admitted(under_test: Gateway, limit: int) -> set[str]:
    """Whom admission lets start, once it may: the gateway's own dispatcher is at it, too."""
    await under_test.store.set_limit("orders", limit)
    await under_test.store.admit(limit=9, claim=60)
    return {one.id for one in await under_test.executions() if one.admitted_at}


async def ids_of(under_test: Gateway, *bodies: Any) -> list[str]:
    """The executions of events that come while nothing may start."""
    await under_test.store.set_limit("orders", 0)
    return [(await under_test.post(body)).json()["execution_id"] for body in bodies]


async def test_a_key_is_evaluated_when_the_event_is_accepted():
    async with gateway(KEYED) as under_test:
        ids = await ids_of(under_test, *({"customer": customer} for customer in (1, 1, "b" * 20_000)))
        assert await admitted(under_test, 9) == {ids[0], ids[2]}
        waits = await under_test.store.execution(ids[1])
    assert waits.waiting_for == "concurrency customer=1"


async def test_a_key_that_can_not_be_evaluated_loses_no_event_and_is_counted(caplog):
    async with gateway(KEYED) as under_test:
        ids = await ids_of(under_test, {}, {}, [])
        assert len(await admitted(under_test, 9)) == 1
        assert under_test.counted("ipaas_keys_faulty_total", workflow="orders") == 3
    assert len(set(ids)) == 3
    assert "workflow orders: concurrency: key: event.body.customer is missing" in caplog.text


async def test_events_that_are_debounced_away_have_an_execution_each():
    async with gateway(DEBOUNCED) as under_test:
        ids = await ids_of(under_test, {"customer": 1}, {"customer": 1}, {"customer": 1})
        assert await admitted(under_test, 9) == set()
        under_test.clock.move(seconds=10)
        assert await admitted(under_test, 9) == {ids[2]}
        skipped = [one for one in await under_test.executions() if one.status is Status.SKIPPED]
    assert {one.id: one.error["execution_id"] for one in skipped} == dict.fromkeys(ids[:2], ids[2])


async def test_priority_puts_ahead():
    async with gateway(PRIORITY) as under_test:
        _, vip = await ids_of(under_test, {"vip": False}, {"vip": True})
        assert await admitted(under_test, 1) == {vip}
