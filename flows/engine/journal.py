"""What is recorded of one execution while it runs.

`DurableJournal` writes each record before the execution goes on: what ended is never run again. `BufferedJournal`
keeps them until the end, or a long wait, for runs that nobody would go on with.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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


class Journal(Protocol):
    @property
    def steps(self) -> Mapping[str, StepExecution]:
        """Every recorded step by its path, in the order of their first record; without those that were forgotten."""
        ...

    async def started(self, step: StepExecution) -> None:
        """A step begins.

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
    def __init__(self, history: Running, execution: Execution, clock: Clock, lost: Callable[[], None]) -> None:
        self._history, self._hold, self._clock, self._lost = history, execution.hold, clock, lost
        self.steps: dict[str, StepExecution] = {step.path: step for step in execution.steps}

    async def started(self, step: StepExecution) -> None:
        await self._save(step)

    async def ended(self, step: StepExecution) -> None:
        await self._save(step)

    def forget(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.steps.pop(path, None)

    async def park(self, waits: Sequence[NewWait]) -> bool:
        return await self._insist(lambda: self._history.park(self._hold, waits))

    async def finish(self, status: Status, *, output: Json = None, error: Json = None, answer: Json = None) -> bool:
        return await self._insist(
            lambda: self._history.finish(self._hold, status, output=output, error=error, answer=answer)
        )

    async def _save(self, step: StepExecution) -> None:
        if not await self._insist(lambda: self._history.save_step(self._hold, step)):
            self._lost()
            raise HeldElsewhere
        self.steps[step.path] = step

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

    async def started(self, step: StepExecution) -> None:
        self.steps[step.path] = step

    async def ended(self, step: StepExecution) -> None:
        self.steps[step.path] = step

    def forget(self, paths: Iterable[str]) -> None:
        """Forgets nothing: it is all still to be written."""

    async def park(self, waits: Sequence[NewWait]) -> bool:
        await self._write()
        return await self._history.park(self._hold, waits)

    async def _write(self) -> None:
        for step in self.steps.values():
            await self._history.save_step(self._hold, step)

    async def finish(self, status: Status, *, output: Json = None, error: Json = None, answer: Json = None) -> bool:
        await self._write()
        return await self._history.finish(self._hold, status, output=output, error=error, answer=answer)
