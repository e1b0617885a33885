"""Bytes of bodies: what is refused, what makes room, and who waits for a turn."""

from __future__ import annotations

import asyncio

import pytest
from gateway_under_test import gateway

from flows.history import MemoryStore
from ipaas.gateway import budget
from ipaas.gateway.budget import BodyBudget, Turns
from ipaas.gateway.problems import Problem


async def test_a_share_is_given_back():
    bodies = BodyBudget(10)
    with bodies.share() as share:
        share.add(7)
        assert bodies.held == 7
    assert bodies.held == 0


async def test_what_is_announced_beyond_the_budget_is_refused_and_holds_nothing():
    bodies = BodyBudget(10)
    with bodies.share() as first, bodies.share() as second:
        first.add(7)
        with pytest.raises(Problem) as refused:
            second.expect(4)
        second.expect(3)
        assert bodies.held == 7
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "5")


async def test_bytes_beyond_the_budget_are_refused():
    bodies = BodyBudget(10)
    with bodies.share() as first, bodies.share() as second:
        first.add(7)
        with pytest.raises(Problem):
            second.add(4)
        assert bodies.held == 7


async def test_the_oldest_that_still_come_make_room(monkeypatch):
    monkeypatch.setattr(budget, "SLOW_SECONDS", -1)
    bodies = BodyBudget(10)
    with bodies.share() as oldest, bodies.share() as older, bodies.share() as new:
        async with asyncio.timeout(None) as first, asyncio.timeout(None) as second:
            oldest.begin(first)
            older.begin(second)
            oldest.add(5)
            older.add(4)
            new.expect(6)
            new.add(6)
            assert (oldest.size, older.size, new.size, bodies.held) == (0, 4, 6, 10)
            with pytest.raises(Problem):
                oldest.add(1)
            assert first.when() is not None
            first.reschedule(None)
    assert bodies.held == 0


async def test_what_is_complete_stays(monkeypatch):
    monkeypatch.setattr(budget, "SLOW_SECONDS", -1)
    bodies = BodyBudget(10)
    with bodies.share() as done, bodies.share() as new:
        async with asyncio.timeout(None) as deadline:
            done.begin(deadline)
            done.add(9)
            done.complete()
        with pytest.raises(Problem):
            new.add(2)
        assert done.size == 9


async def taking(turns: Turns, size: int, order: list[int], leave: asyncio.Event) -> None:
    async with turns.take(size):
        order.append(size)
        await leave.wait()


async def test_turns_come_in_order_and_a_large_one_is_not_overtaken():
    turns, order, leave = Turns(10), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(taking(turns, size, order, leave)) for size in (6, 8, 1)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == [6]
    leave.set()
    await asyncio.gather(*tasks)
    assert order == [6, 8, 1]


async def test_what_is_larger_than_all_there_is_goes_alone():
    turns, order, leave = Turns(10), list[int](), asyncio.Event()
    leave.set()
    await taking(turns, 1_000, order, leave)
    await taking(turns, 10, order, leave)
    assert order == [1_000, 10]


async def test_who_gives_up_waiting_leaves_the_turn_to_the_next():
    turns, order, leave = Turns(10), list[int](), asyncio.Event()
    first, second, third = (asyncio.create_task(taking(turns, size, order, leave)) for size in (10, 9, 8))
    for _ in range(5):
        await asyncio.sleep(0)
    second.cancel()
    leave.set()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert order == [10, 8]
    async with asyncio.timeout(5), turns.take(10):
        pass


async def test_a_turn_that_does_not_come_is_503(monkeypatch):
    monkeypatch.setattr(budget, "TURN_SECONDS", 0.01)
    turns = Turns(10)
    async with turns.take(10):
        with pytest.raises(Problem) as refused:
            async with turns.take(1):
                pass
    assert (refused.value.status, refused.value.reason) == (503, "turns")
    async with turns.take(10):
        pass


async def test_a_body_that_finds_no_room_is_503_with_retry_after():
    async with gateway(max_body_bytes=1_000, max_inflight_bytes=1_000) as under_test:
        with under_test.app.state.bodies.share() as other:
            other.add(995)
            answer = await under_test.post({"a": "x" * 100})
            api = await under_test.http.post("/api/executions/x/cancel", json={"reason": "x" * 100})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert (api.status_code, api.headers["retry-after"]) == (503, "5")
        assert under_test.rejected() == {"bodies": 1}
        assert under_test.counted("ipaas_body_bytes") == 0
        assert (await under_test.post({"a": "x" * 100})).status_code == 202


async def test_whoever_waits_for_a_result_holds_nothing_of_the_body():
    class Watched(MemoryStore):
        async def accept(self, new):
            held.append(under_test.app.state.bodies.held)
            return await super().accept(new)

    held: list[int] = []
    waiting = "name: orders\ntriggers: [{webhook: {auth: none}}]\nrespond: {when: finished}\n"
    steps = "steps: [{id: note, uses: log.message, with: {text: hello}}]\n"
    async with gateway(waiting + steps, store=Watched()) as under_test:
        request = asyncio.create_task(under_test.post({"a": "x" * 100}))
        execution_id = await under_test.accepted()
        async with asyncio.timeout(5):
            while under_test.app.state.bodies.held:
                await asyncio.sleep(0)
        assert not request.done()
        assert held[0] > 100
        await under_test.end(execution_id, output="done")
        assert (await request).text == "done"
    assert under_test.app.state.bodies.held == 0
