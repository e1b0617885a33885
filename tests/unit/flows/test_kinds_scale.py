"""Long loops: what is not collected is not kept."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

from executing import Bench, bench, block, in_yaml, step, steps

from flows.engine.execution import accept_event, run_execution
from flows.history import Execution, Running, Status, StepExecution
from flows.language.event import Event
from foundation.clock import Clock

ITEMS, KIB_EACH = 2_000, 10


class NotWritten:
    """A journal that writes nothing down: what it holds is what the engine needs of it."""

    def __init__(self, history: Running, execution: Execution, clock: Clock, lost: Callable[[], None]) -> None:
        self._history, self._hold = history, execution.hold
        self.steps: dict[str, StepExecution] = {}
        self.ends, self.most_held = 0, 0

    async def started(self, step: StepExecution, *, is_bound: bool) -> None:
        self.steps[step.path] = step

    async def ended(self, step: StepExecution) -> None:
        self.steps[step.path] = step
        self.ends += 1
        self.most_held = max(self.most_held, len(self.steps))

    def forget(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.steps.pop(path, None)

    async def hand_back(self) -> None: ...

    async def finish(self, status: Status, *, output: Any = None, error: Any = None, answer: Any = None) -> bool:
        return await self._history.finish(self._hold, status, output=output, error=error, answer=answer)


async def peak_mib(on: Bench, *written: str, body: Any) -> tuple[float, NotWritten]:
    """The most memory that an execution took at once, the event left out."""
    flow, journals = in_yaml(steps(*written)), list[NotWritten]()

    def open_journal(*arguments: Any) -> NotWritten:
        journals.append(NotWritten(*arguments))
        return journals[0]

    execution_id = await accept_event(on.runtime, flow.program, Event(body=body))
    tracemalloc.start()
    outcome = await run_execution(on.runtime, execution_id, flow.program, open_journal=open_journal)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcome.status is Status.SUCCEEDED
    return peak / 2**20, journals[0]


TEXT = "y" * KIB_EACH * 1024


def note(step_id: str) -> str:
    return step(step_id, set={"text": "{{ event.body.text ~ index }}"})


async def test_the_outputs_of_a_long_loop_that_collects_none_are_not_kept() -> None:
    body = {"items": list(range(ITEMS)), "text": TEXT}
    inside = block(step("route", switch="1", cases={"1": block(note("a"))}), note("b"))
    async with bench() as on:
        long = step("l", for_each="event.body.items", collect=False, concurrency=5, steps=inside)

        peak, journal = await peak_mib(on, long, body=body)

    assert journal.ends == 3 * ITEMS + 1
    assert journal.most_held <= 3 * 5 + 1
    assert peak < 4  # they are 40


async def test_nor_are_those_of_a_loops_own_action_or_of_loops_inside_it() -> None:
    body = {"items": list(range(ITEMS // 10)), "ten": list(range(10)), "text": TEXT}
    each = step("each", for_each="event.body.ten", collect=False, uses="log.message", with_={"text": "{{ index }}"})
    inner = step("inner", for_each="event.body.ten", collect=False, steps=block(note("a")))
    async with bench() as on:
        long = step("l", for_each="event.body.items", collect=False, steps=block(each, inner))

        peak, journal = await peak_mib(on, long, body=body)

    assert journal.ends == 2 * ITEMS + 2 * ITEMS // 10 + 1
    assert journal.most_held <= 4
    assert peak < 4  # they are 20


async def test_nor_are_the_rounds_of_a_repeat() -> None:
    async with bench() as on:
        again = step("r", repeat={"until": f"index == {ITEMS - 1}", "limit": ITEMS}, steps=block(note("a")))

        peak, journal = await peak_mib(on, again, body={"text": TEXT})

    assert (journal.ends, journal.most_held) == (ITEMS + 1, 2)
    assert peak < 4  # they are 20
