"""What is recorded of one execution while it runs.

`DurableJournal` writes what ended before the execution goes on: it is never run again. `BufferedJournal` keeps all
until the end, or a long wait, for runs that nobody would go on with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Protocol, TypeVar

from flows.engine.failures import HeldElsewhere
from flows.history import Execution, NewWait, Running, Status, StepExecution
from foundation.clock import Clock
from foundation.errors import StorageUnavailable

logger = logging.getLogger("ipaas.engine")

T = TypeVar("T")
Json = Any

LEASE_SECONDS = 30.0
"""How long an execution stays its process's own without a sign of life; then another one may take it over."""
RETRY_SECONDS = 1.0
TOGETHER_SECONDS = 0.002
"""How long the end of a step may wait for what follows it, to be written with that."""
SHOWN_SECONDS = 0.5
"""How long a step runs before it is recorded that it has begun."""
SURE_SECONDS = 2.0
"""How long after a write it is taken for sure that the execution is still this process's."""


class Journal(Protocol):
    @property
    def steps(self) -> Mapping[str, StepExecution]:
        """Every recorded step by its path, in the order of their first record; without those that were forgotten."""
        ...

    async def started(self, step: StepExecution, *, is_bound: bool) -> None:
        """A step begins, once all that has ended before is recorded, as far as this journal records at once.

        Args:
            is_bound: what it decided has to be recorded before it does anything.

        Raises:
            HeldElsewhere: the execution is another process's now.
            StorageUnavailable: the history does not answer.
        """
        ...

    async def ended(self, step: StepExecution) -> None:
        """A step has ended, as its status says. Raises as `started`, and TooLarge when its output is."""
        ...

    def forget(self, paths: Iterable[str]) -> None:
        """Nobody asks for these steps again, so whoever has them written need not keep them: a loop's may be many."""
        ...

    async def hand_back(self) -> None:
        """Another process goes on: what is recorded at once is recorded, and which steps have begun. As `started`."""
        ...

    async def park(self, waits: Sequence[NewWait]) -> bool:
        """The execution waits for one of these; False when it is another process's now. Raises StorageUnavailable."""
        ...

    async def finish(self, status: Status, *, output: Json = None, error: Json = None, answer: Json = None) -> bool:
        """The execution has ended; False when it had ended before, or is another process's now.

        Raises StorageUnavailable, and TooLarge when the output is.
        """
        ...


OpenJournal = Callable[[Running, Execution, Clock, Callable[[], None]], Journal]
"""A journal of an execution that has begun. The last argument is called when it turns out to be another process's."""


class DurableJournal:
    """What ended is durable before anything else begins: in one write with that, or with the execution's end.

    That a step has begun is written before it does anything when it is bound by what it decided. Otherwise it goes with
    what is written anyway, or is written once the step has lasted for a while, for people to see.
    """

    def __init__(self, history: Running, execution: Execution, clock: Clock, lost: Callable[[], None]) -> None:
        self._history, self._hold, self._clock, self._lost = history, execution.hold, clock, lost
        self.steps: dict[str, StepExecution] = {step.path: step for step in execution.steps}
        self._to_write: dict[str, StepExecution] = {}
        self._only_begun: dict[str, StepExecution] = {}
        self._counter, self._places = count(), dict[str, int]()
        """In the order of their beginning, of those that have no row yet."""
        self._one_at_a_time = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._written_at = asyncio.get_running_loop().time()
        self._behind: asyncio.Task[None] | None = None

    async def started(self, step: StepExecution, *, is_bound: bool) -> None:
        self._take_place(step)
        if is_bound or asyncio.get_running_loop().time() - self._written_at > SURE_SECONDS:
            self._to_write[step.path] = self._history.written(step)
        if self._to_write or self._one_at_a_time.locked():
            await self._write_steps()
        if step.path in self._places:
            self._only_begun[step.path] = step
            self._write_within(SHOWN_SECONDS)
        self.steps[step.path] = step

    async def ended(self, step: StepExecution) -> None:
        self._take_place(step)
        self._to_write[step.path] = self._history.written(step)
        self._only_begun.pop(step.path, None)
        self.steps[step.path] = step
        self._write_within(TOGETHER_SECONDS)

    def forget(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.steps.pop(path, None)

    async def hand_back(self) -> None:
        await self._write_steps()

    async def park(self, waits: Sequence[NewWait]) -> bool:
        return await self._write(lambda steps: self._history.park(self._hold, waits, steps=steps))

    async def finish(self, status: Status, *, output: Json = None, error: Json = None, answer: Json = None) -> bool:
        return await self._write(
            lambda steps: self._history.finish(
                self._hold, status, steps=steps, output=output, error=error, answer=answer
            )
        )

    def _take_place(self, step: StepExecution) -> None:
        if step.path not in self.steps:
            self._places.setdefault(step.path, next(self._counter))

    def _write_within(self, seconds: float) -> None:
        """Unless something is written before that."""
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.when() > loop.time() + seconds:
            self._forget_timer()
            self._timer = loop.call_later(seconds, self._begin_to_write)

    def _forget_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _begin_to_write(self) -> None:
        self._timer = None
        self._behind = asyncio.create_task(self._write_behind())

    async def _write_behind(self) -> None:
        try:
            await self._write_steps()
        except (HeldElsewhere, StorageUnavailable) as error:  # whoever writes next is told
            logger.warning("could not write steps of execution %s: %s", self._hold.execution_id, error)

    async def _write_steps(self) -> None:
        async def save(steps: Sequence[StepExecution]) -> bool:
            return await self._history.save_steps(self._hold, steps) if steps else True

        if not await self._write(save):
            self._lost()
            raise HeldElsewhere

    async def _write(self, write: Callable[[Sequence[StepExecution]], Awaitable[bool]]) -> bool:
        """One write at a time. What it did not come to write is left for the next one."""
        async with self._one_at_a_time:
            self._forget_timer()
            begun_at = asyncio.get_running_loop().time()
            taken = self._only_begun | self._to_write
            self._only_begun, self._to_write = {}, {}
            in_order = sorted(taken.values(), key=lambda step: self._places.get(step.path, -1))
            try:
                is_held = await self._insist(lambda: write(in_order))
            except BaseException:
                self._to_write = taken | self._to_write
                raise
            for path in taken:
                self._places.pop(path, None)
            self._written_at = begun_at
            return is_held

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Writes what would have to be done again if it got lost; tries for as long as a lease lasts."""
        tried = 0.0
        while True:
            try:
                return await write()
            except StorageUnavailable as error:
                if tried >= LEASE_SECONDS:
                    raise
                logger.warning("could not write to the history, trying again: %s", error)
            await self._clock.sleep(RETRY_SECONDS)
            tried += RETRY_SECONDS


class BufferedJournal:
    def __init__(self, history: Running, execution: Execution, clock: Clock, lost: Callable[[], None]) -> None:
        self._history, self._hold = history, execution.hold
        self.steps: dict[str, StepExecution] = {step.path: step for step in execution.steps}

    async def started(self, step: StepExecution, *, is_bound: bool) -> None:
        self.steps[step.path] = step

    async def ended(self, step: StepExecution) -> None:
        self.steps[step.path] = step

    def forget(self, paths: Iterable[str]) -> None:
        """Forgets nothing: it is all still to be written."""

    async def hand_back(self) -> None:
        """Nobody goes on."""

    async def park(self, waits: Sequence[NewWait]) -> bool:
        return await self._history.park(self._hold, waits, steps=list(self.steps.values()))

    async def finish(self, status: Status, *, output: Json = None, error: Json = None, answer: Json = None) -> bool:
        steps = list(self.steps.values())
        return await self._history.finish(self._hold, status, steps=steps, output=output, error=error, answer=answer)
