"""Telling Prefect of express executions: in batches, again after an outage, and what it does not take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from executing import Bench, bench
from store_builders import a_version, accepted, finish
from store_suite.express import begin_all

from flows.history import Execution, Status
from ipaas.worker import recorder as module
from ipaas.worker.noted import from_history
from ipaas.worker.recorder import Recorder

Refuses = Callable[[dict[str, Any]], str | None]


class Prefect:
    """Stands for Prefect's server: keeps what it is told."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.batches: list[int] = []
        self.marker: str | None = None
        self.status = 200
        self.refuses: Refuses = lambda run: None

    async def request(self, method: str, path: str, **how: Any) -> httpx.Response:
        request = httpx.Request(method, "http://prefect/api" + path)
        if self.status != 200:
            response = httpx.Response(self.status, request=request)
            raise httpx.HTTPStatusError(f"{self.status}", request=request, response=response)
        if method == "GET":
            return httpx.Response(200, json={"before": self.marker}, request=request)
        batch = json.loads(how["content"])
        self.batches.append(len(batch["runs"]))
        refused = {run["id"]: why for run in batch["runs"] if (why := self.refuses(run))}
        taken = [run for run in batch["runs"] if run["id"] not in refused]
        self.runs |= {run["id"]: run for run in taken}
        before, self.marker = self.marker, max(batch["at"], self.marker or "")
        answer = {"recorded": [run["id"] for run in taken], "refused": refused, "before": before}
        return httpx.Response(200, json=answer, request=request)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 0.01)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(module, "SETTLED", timedelta(0))


@asynccontextmanager
async def recording(prefect: Prefect) -> AsyncIterator[tuple[Bench, Recorder]]:
    async with bench() as on:
        recorder = Recorder(prefect, on.runtime)  # type: ignore[arg-type]
        task = asyncio.create_task(recorder.run())
        yield on, recorder
        task.cancel()


async def ended(on: Bench, number: int = 1) -> list[Execution]:
    await on.store.publish(a_version(workflow="quick", declaration={"mode": "express", "concurrency": []}))
    ids = []
    for _ in range(number):
        ids.append(await accepted(on.store, workflow="quick"))
        await begin_all(on.store)
        await finish(on.store, ids[-1], Status.SUCCEEDED)
    on.clock.move(seconds=1)
    return [found for one in ids if (found := await on.store.execution(one))]


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.005)


async def unrecorded(on: Bench) -> int:
    return len(await on.store.unrecorded(limit=1_000))


async def test_what_ended_is_told_together_and_noted() -> None:
    prefect = Prefect()
    async with recording(prefect) as (on, recorder):
        executions = await ended(on, 30)
        for one in executions:
            recorder.tell(from_history(one))
        await until(lambda: len(prefect.runs) == 30)
        await asyncio.sleep(0.05)

        assert await unrecorded(on) == 0
    assert len(prefect.batches) <= 3


async def test_what_the_history_has_is_told_after_a_start() -> None:
    prefect = Prefect()
    async with bench() as on:
        [execution] = await ended(on)
        recorder = Recorder(prefect, on.runtime)  # type: ignore[arg-type]
        task = asyncio.create_task(recorder.run())
        await until(lambda: bool(prefect.runs))
        task.cancel()

    assert list(prefect.runs) == [execution.id]


@pytest.mark.parametrize("status", [500, 503])
async def test_while_prefect_is_away_nothing_is_lost(status: int) -> None:
    prefect = Prefect()
    prefect.status = status
    async with recording(prefect) as (on, recorder):
        for one in await ended(on, 5):
            recorder.tell(from_history(one))
        await asyncio.sleep(0.05)
        assert (await unrecorded(on), prefect.runs) == (5, {})

        prefect.status = 200
        await until(lambda: len(prefect.runs) == 5)


async def test_more_than_it_keeps_comes_from_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    prefect = Prefect()
    async with recording(prefect) as (on, recorder):
        for one in await ended(on, 9):
            recorder.tell(from_history(one))

        await until(lambda: len(prefect.runs) == 9)


async def test_a_poison_run_is_shown_without_its_event_and_the_others_as_they_are() -> None:
    prefect = Prefect()
    async with recording(prefect) as (on, recorder):
        executions = await ended(on, 4)
        poison = executions[2].id
        prefect.refuses = lambda run: "no" if run["id"] == poison and "not shown" not in str(run) else None
        for one in executions:
            recorder.tell(from_history(one))
        await until(lambda: len(prefect.runs) == 4)
        await asyncio.sleep(0.05)

        assert await unrecorded(on) == 0
    assert "not shown here: no" in prefect.runs[poison]["parameters"]["event"]["body"]


async def test_one_that_can_t_be_told_at_all_is_not_tried_for_ever() -> None:
    prefect = Prefect()
    prefect.refuses = lambda run: "never"
    async with recording(prefect) as (on, recorder):
        recorder.tell(from_history((await ended(on))[0]))
        await until(lambda: len(prefect.batches) >= 2)
        await asyncio.sleep(0.05)

        assert await unrecorded(on) == 0


async def test_an_older_database_of_prefect_s_is_filled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    prefect = Prefect()
    async with recording(prefect) as (on, recorder):
        [first] = await ended(on)
        recorder.tell(from_history(first))
        await until(lambda: first.id in prefect.runs)
        backup = dict(prefect.runs), prefect.marker
        [second] = await ended(on)
        recorder.tell(from_history(second))
        await until(lambda: second.id in prefect.runs)
        await asyncio.sleep(0.05)

        prefect.runs, prefect.marker = backup
        await asyncio.sleep(0.06)
        recorder._poke.set()
        await until(lambda: second.id in prefect.runs)


async def test_a_server_that_is_not_ours_is_noticed() -> None:
    prefect = Prefect()
    prefect.status = 404
    changed: list[bool] = []
    async with bench() as on:
        recorder = Recorder(prefect, on.runtime, on_changed=lambda: changed.append(True))  # type: ignore[arg-type]
        task = asyncio.create_task(recorder.run())
        await until(lambda: not recorder.is_possible)
        prefect.status = 200
        recorder._poke.set()
        await until(lambda: recorder.is_possible)
        task.cancel()

    assert changed == [True, True]
