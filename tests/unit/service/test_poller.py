"""What a worker does with a poll that is due: it asks, tells new from known, and accepts what is new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from connectors.kit.testing import acting
from flows.engine.runtime import Runtime
from flows.history import Execution, MemoryStore, PollState
from flows.language.yaml_source import load_workflow
from flows.on_prefect.flow import version_of
from foundation.clock import ManualClock
from ipaas.worker import polling
from ipaas.worker.polling import Poller, retry_seconds

URL = "https://shop.example/orders"
STEPS = "steps: [{id: note, uses: log.message, with: {text: hello}}]"


def orders(more: str = "", url: str = URL, with_: str = "") -> str:
    poll = f"uses: http.request, with: {{url: '{url}'{with_}}}, every: 10m, items: output.body.orders{more}"
    return f"name: orders\ntriggers: [{{poll: {{{poll}}}}}]\n{STEPS}\n"


@dataclass
class Shop:
    """Answers with its orders, or what it is told to."""

    ids: list[Any] = field(default_factory=list)
    answer: Callable[[httpx.Request], httpx.Response] | None = None
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.answer:
            return self.answer(request)
        return httpx.Response(200, json={"orders": [{"id": one, "n": 1} for one in self.ids], "next": len(self.ids)})


@dataclass
class Bench:
    poller: Poller
    store: MemoryStore
    clock: ManualClock
    shop: Shop
    ended: list[bool]
    accepted: list[None]

    async def publish(self, text: str) -> None:
        await self.store.publish(version_of(load_workflow(text), text, language="yaml", file="test.yaml"))

    async def poll(self, *ids: Any) -> PollState:
        """What the poll is afterwards, which finds these orders."""
        self.shop.ids = list(ids) or self.shop.ids
        claimed = await self.store.claim_poll(claim=90)
        assert claimed is not None
        await self.poller.poll(claimed)
        return await self.state()

    async def again(self, *ids: Any) -> PollState:
        """The same at the next time that it is due."""
        self.clock.move(seconds=((await self.state()).due_at - self.clock.now()).total_seconds())
        return await self.poll(*ids)

    async def state(self) -> PollState:
        [state] = await self.store.polls()
        return state

    async def executions(self) -> list[Execution]:
        items = (await self.store.executions()).items
        found = [await self.store.execution(item.id) for item in reversed(items)]
        return [one for one in found if one]

    async def bodies(self) -> list[Any]:
        """Of the executions' events, oldest first."""
        return [one.event["body"] for one in await self.executions()]

    async def ids(self) -> list[Any]:
        return [body["id"] for body in await self.bodies()]


@asynccontextmanager
async def bench(text: str, credentials: Any = None) -> AsyncIterator[Bench]:
    shop, ended, accepted = Shop(), list[bool](), list[None]()
    async with acting(shop, credentials) as stage:
        store = MemoryStore(stage.clock)
        async with Runtime(store=store, services=stage.services, clock=stage.clock) as runtime:
            poller = Poller(
                runtime,
                backlog=5,
                on_accepted=lambda: accepted.append(None),
                on_ended=lambda poll, well: ended.append(well),
            )
            under_test = Bench(poller, store, stage.clock, shop, ended, accepted)
            await under_test.publish(text)
            yield under_test


async def test_the_first_poll_runs_nothing_and_later_ones_run_what_is_new():
    async with bench(orders()) as on:
        await on.poll(1, 2)
        assert (await on.executions(), on.accepted) == ([], [])
        await on.again(1, 2)
        await on.again(2, 3, 4)
        assert await on.ids() == [3, 4]
        [first, _] = await on.executions()
    assert (first.workflow, first.trigger, first.status) == ("orders", "poll", "accepted")
    assert first.event["body"] == {"id": 3, "n": 1}
    assert (on.ended, len(on.accepted)) == ([True] * 3, 1)


async def test_from_start_runs_what_is_there():
    async with bench(orders(", from: start")) as on:
        await on.poll(1, 2)
        assert await on.ids() == [1, 2]


async def test_a_batch_is_one_execution_for_all_that_is_new():
    async with bench(orders(", each: batch")) as on:
        for ids in ([1], [1, 2, 3], [1, 2, 3]):
            await on.again(*ids)
        assert [[item["id"] for item in body] for body in await on.bodies()] == [[2, 3]]


async def test_a_key_tells_items_apart():
    async with bench(orders(', from: start, key: "[item.id, item.n]"')) as on:
        await on.poll({"a": 1}, {"a": 1}, 1, "1", None)
        assert await on.ids() == [{"a": 1}, 1, "1", None]


async def test_the_next_poll_sees_the_cursor_of_the_last_one_that_went_well():
    text = orders(", cursor: output.body.next", with_=", query: {after: '{{ cursor | default(0, true) }}'}")
    async with bench(text) as on:
        await on.poll(1, 2, 3)
        on.shop.answer = lambda request: httpx.Response(500)
        await on.again()
        on.shop.answer = None
        await on.again()
        assert (await on.state()).cursor == 3
    assert [request.url.params["after"] for request in on.shop.asked] == ["0", "3", "3"]


async def test_the_credential_goes_with_it():
    async with bench(orders(", credential: shop"), {"shop": {"token": "s3cret-token"}}) as on:
        await on.poll(1)
    assert on.shop.asked[0].headers["authorization"] == "Bearer s3cret-token"


async def test_a_failure_is_noted_and_loses_nothing():
    async with bench(orders()) as on:
        await on.poll(1)
        on.shop.answer = lambda request: httpx.Response(404, json={"message": "moved"})
        failed = await on.again()
        assert (failed.failures, failed.error["code"], failed.error["status"]) == (1, "remote", 404)
        assert "moved" in failed.error["message"]
        assert (failed.due_at - on.clock.now()).total_seconds() == 30
        on.shop.answer = None
        assert (await on.again(1, 2)).failures == 0
        assert await on.ids() == [2]
    assert on.ended == [True, False, True]


async def test_while_too_much_waits_nothing_more_is_asked_for():
    async with bench(orders(", from: start")) as on:
        await on.poll(1, 2, 3, 4, 5)
        full = await on.again(1, 2, 3, 4, 5, 6)
        assert (full.error["code"], len(on.shop.asked)) == ("backlog", 1)
        [first, *_] = await on.executions()
        await on.store.request_cancel(first.id, by="test", reason="")
        await on.again()
        assert await on.ids() == [1, 2, 3, 4, 5, 6]


async def test_it_is_tried_again_ever_later():
    assert [retry_seconds(failures, 600) for failures in range(7)] == [30, 60, 120, 240, 480, 900, 900]
    assert retry_seconds(10_000, 86_400) == 86_400


@pytest.mark.parametrize(
    ("more", "answer", "message"),
    [
        ("", {"orders": {"a": 1}}, "items: expected a list, got a mapping of a"),
        ("", {"orders": None}, "items: expected a list, got nothing"),
        ("", {}, "output.body.orders is missing"),
        ("", {"orders": [{"id": 1}, {}]}, "key of items[1]: item.id is missing"),
        ("", {"orders": [{"id": ""}]}, "key: that of items[0] is empty"),
        (
            "",
            {"orders": [{"id": n} for n in range(10_001)]},
            "items: 10001 are more than the 10000 that one poll may give",
        ),
        (", cursor: output.body.after", {"orders": []}, "output.body.after is missing"),
        (
            ", cursor: output.body.x",
            {"orders": [], "x": "x" * 70_000},
            "cursor: 70002 characters of JSON are more than",
        ),
    ],
)
async def test_what_it_can_not_tell_apart_is_a_failure_that_says_so(more, answer, message):
    async with bench(orders(f", from: start{more}")) as on:
        on.shop.answer = lambda request: httpx.Response(200, json=answer)
        failed = await on.poll()
        assert await on.executions() == []
    assert message in failed.error["message"]


async def test_an_echoed_secret_is_masked():
    async with bench(orders(", credential: shop"), {"shop": {"token": "s3cret-token"}}) as on:
        on.shop.answer = lambda request: httpx.Response(403, json={"message": "no s3cret-token"})
        failed = await on.poll()
        assert "s3cret-token" not in str(failed.error)
        on.shop.answer = None
        await on.again("a")
        await on.again("a", "s3cret-token")
        assert await on.ids() == ["********"]


async def test_an_address_that_comes_from_data_is_held_to_public_ones():
    literal = orders(url="http://127.0.0.1:9/orders")
    from_data = orders(url='http://{{ cursor | default("127.0.0.1", true) }}:9/orders')
    for text, may in ((literal, True), (from_data, False)):
        async with bench(text) as on:
            await on.poll(1)
        assert on.shop.asked[0].extensions["ipaas.may_be_private"]("127.0.0.1:9") is may


async def test_a_poll_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(polling, "POLL_SECONDS", 0.01)

    async def hang(self: Any, claimed: Any, compiled: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(Poller, "_output", hang)
    async with bench(orders()) as on:
        failed = await on.poll(1)
    assert failed.error == {"code": "error", "message": "it took longer than 0.01 s"}


async def test_one_that_took_too_long_stores_nothing():
    async with bench(orders(", from: start")) as on:
        claimed = await on.store.claim_poll(claim=90)
        assert claimed is not None
        on.clock.move(seconds=90)
        other = await on.store.claim_poll(claim=90)
        assert other is not None
        on.shop.ids = [1]
        await on.poller.poll(claimed)
        assert await on.executions() == []
        await on.poller.poll(other)
        assert await on.ids() == [1]


async def test_a_deploy_meanwhile_counts_from_the_next_poll_on():
    async with bench(orders()) as on:
        await on.poll(1)
        await on.publish(orders(", each: batch"))
        await on.again(1, 2)
        [execution] = await on.executions()
        assert [item["id"] for item in execution.event["body"]] == [2]
        known = await on.store.workflow("orders")
        assert known is not None
        assert execution.version == known.current.version


async def test_it_polls_what_is_due_and_gives_back_what_it_can_not_end():
    begun = asyncio.Event()
    async with bench(orders(", from: start")) as on:
        on.shop.ids = [1]
        running = asyncio.create_task(on.poller.run())
        async with asyncio.timeout(10):
            while not await on.executions():
                await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        async def hang(claimed: Any, compiled: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

        on.clock.move(hours=1)
        on.poller._output = hang  # type: ignore[method-assign]
        running = asyncio.create_task(on.poller.run())
        async with asyncio.timeout(10):
            await begun.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert (await on.store.claim_poll(claim=90)) is not None
