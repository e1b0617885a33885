"""Executions whose process stops at any moment, and which another one goes on with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

from executing import Bench, bench

from flows.engine import journal
from flows.history import Execution, Hold, MemoryStore, Status, StepExecution
from flows.on_prefect.flow import WorkflowFlow


def requests(on: Bench) -> list[tuple[str, str, Any]]:
    """Each with its step: an idempotency key is of the execution and the step's path."""
    return [
        (
            request.headers["idempotency-key"].partition(":")[2],
            request.url.path,
            json.loads(request.content) if request.content else None,
        )
        for request in on.remote.requests
    ]


def recorded(execution: Execution) -> dict[str, Any]:
    """By path; an execution's own id left out."""
    return {
        one.path: (
            one.action,
            one.status,
            one.attempts,
            one.output,
            one.error,
            json.loads(json.dumps(one.decision).replace(execution.id, "ID")),
        )
        for one in execution.steps
    }


def result(execution: Execution) -> tuple[Any, ...]:
    return execution.status, execution.output, execution.error, recorded(execution), list(recorded(execution))


async def handed_back(on: Bench, flow: WorkflowFlow, body: Any, when: Awaitable[Any]) -> Execution:
    """Ends an execution whose process stopped at this moment."""
    running = on.start(flow, body)
    async with asyncio.timeout(10):
        await when
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    stopped = await on.last()
    assert stopped.status is Status.ACCEPTED
    on.clock.move(hours=3)
    on.remote.unanswered = None
    await asyncio.gather(on.go_on(flow, stopped.id), return_exceptions=True)
    return await on.last()


async def requested(on: Bench, number: int) -> None:
    """A request has come that gets no answer."""
    on.remote.unanswered = number
    async with on.remote.arrived:
        await on.remote.arrived.wait_for(lambda: len(on.remote.requests) > number)


class StuckStore(MemoryStore):
    """One write of a step's record, counted from 0, never comes to its end, and writes nothing."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.writes, self.stuck = at, 0, asyncio.Event()

    async def save_steps(self, hold: Hold, steps: Sequence[StepExecution]) -> bool:
        self.writes += 1
        if self.writes - 1 == self.at:
            self.stuck.set()
            await asyncio.Event().wait()
        return await super().save_steps(hold, steps)


@asynccontextmanager
async def on_store(store: StuckStore) -> AsyncIterator[Bench]:
    """Nothing is written because some time is over, so that the writes are the same ones whenever it runs."""
    timeless = mock.patch.multiple(journal, TOGETHER_SECONDS=600.0, SHOWN_SECONDS=600.0)
    async with bench(store=store, statuses={"/bad": 404}) as on:
        store._clock = on.clock
        with timeless:
            yield on


async def undisturbed(flow: WorkflowFlow, body: Any) -> tuple[list[Any], tuple[Any, ...], int]:
    """Its requests, its result, and how often a step was recorded."""
    store = StuckStore(-1)
    async with on_store(store) as on:
        execution = await on.run(flow, body)
        return requests(on), result(execution), store.writes


async def handed_back_at_any_request(flow: WorkflowFlow, body: Any) -> None:
    wanted, ended, _ = await undisturbed(flow, body)
    assert len(wanted) > 3
    for number in range(len(wanted)):
        async with bench(statuses={"/bad": 404}) as on:
            execution = await handed_back(on, flow, body, requested(on, number))

        found = requests(on)
        assert found[: number + 1] == wanted[: number + 1]
        # What was in flight is sent again, the same; nothing else is.
        assert found[number + 1 :] == wanted[number:], f"handed back at request {number}"
        assert result(execution) == ended


async def handed_back_before_any_record(flow: WorkflowFlow, body: Any) -> None:
    wanted, ended, writes = await undisturbed(flow, body)
    for number in range(writes):
        store = StuckStore(number)
        async with on_store(store) as on:
            execution = await handed_back(on, flow, body, store.stuck.wait())

        found = requests(on)
        again = [one for index, one in enumerate(found) if one in found[:index]]
        assert list(dict.fromkeys(map(repr, found))) == list(map(repr, wanted)), f"handed back before record {number}"
        assert len(again) <= 1  # the one whose end was not recorded
        assert result(execution) == ended


async def side_by_side_handed_back_before_any_record(flow: WorkflowFlow, body: Any) -> None:
    wanted, ended, writes = await undisturbed(flow, body)
    for number in range(writes):
        store = StuckStore(number)
        async with on_store(store) as on:
            execution = await handed_back(on, flow, body, store.stuck.wait())

        found = requests(on)
        assert {*map(repr, found)} == {*map(repr, wanted)}, f"handed back before record {number}"
        assert len(found) - len(wanted) <= 4  # at most what was in flight at the same time
        assert result(execution)[:3] == ended[:3]
        assert {path: one[1] for path, one in recorded(execution).items()} == {
            path: one[1] for path, one in ended[3].items()
        }
