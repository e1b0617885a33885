"""`async for` over `each`: a durable loop in the author's own code, one round after the other.

Python has no way to be at two places of one function at once. When the function starts again, so do its rounds, since
what they add up in variables is nowhere else; the steps that had ended in them give their recorded results.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

from connectors.kit.call import current_runner
from flows.engine.authors_code import as_json
from flows.engine.calls import Calls, Placed, current_calls
from flows.engine.doing import Doing
from flows.engine.failures import earlier_failure, error_document
from flows.engine.parking import Parked
from flows.expressions import Placeholder
from flows.expressions.values import describe
from flows.history import StepExecution
from flows.language.for_each import MOST_TASKS, ForEach
from flows.language.outcomes import StepFailed
from flows.language.step import Progress
from foundation.errors import ActionError, DefinitionError, IpaasError
from foundation.tracing import current_span, go_on_below

T = TypeVar("T")


def listed(items: Iterable[Any]) -> list[Any]:
    if isinstance(items, Placeholder):
        return [items[0]]
    if isinstance(items, (str, Mapping)):
        raise ActionError(f"each goes through a list, and this is {describe(items)}")
    return [as_json(item, "each: the list") for item in items]


async def place(calls: Calls, items: list[Any], id: str | None) -> Placed:
    return await calls.place(ForEach.kind, "each", items, id=id, same=False)


class InOrder(Generic[T]):
    def __init__(self, items: Iterable[T], id: str | None) -> None:
        self._items, self._id = items, id

    def __aiter__(self) -> AsyncIterator[T]:
        return _Rounds(self._items, self._id)

    def __await__(self) -> Any:
        raise DefinitionError("await each(…) needs a function; without one, it is `async for item in each(…)`")


class _Rounds(AsyncIterator[Any]):
    """One `async for`. Its step runs beside the author's code, which says when it has ended.

    Python tells nobody that an `async for` was left by a `break`, a `return` or an exception. It drops the iterator
    then, which is why there is a `__del__`.
    """

    def __init__(self, items: Iterable[Any], id: str | None) -> None:
        self._given, self._id = items, id
        self._outer: Calls | None = None
        self._loop: _Beside | None = None
        self._round: Calls | None = None
        self._number = 0
        self._around = current_span()

    async def __anext__(self) -> Any:
        if self._loop is None or self._outer is None:
            self._outer = current_calls("each")
            items = listed(self._given)
            self._loop = await _Beside.begin(self._outer, await place(self._outer, items, self._id), items)
        await self._outer.function.end_left()  # loops within the round before
        self._end_round()
        if self._number == len(self._loop.items):
            loop, self._loop = self._loop, None
            await loop.end()
            raise StopAsyncIteration
        self._round = self._loop.round(self._number)
        current_runner.set(self._round)
        go_on_below(self._loop.span)
        self._number += 1
        return self._loop.items[self._number - 1]

    def _end_round(self) -> None:
        if self._round is None or self._outer is None:
            return
        if current_runner.get(None) is self._round:
            current_runner.set(self._outer)
            go_on_below(self._around)
        self._round.steps.journal.forget(self._round.paths)
        self._round = None

    def __del__(self) -> None:
        if self._loop is not None and self._outer is not None:
            self._end_round()
            self._outer.function.left.append(self._loop)


class _Beside:
    """The step of an `async for`, and how it is told that that has ended."""

    def __init__(self, calls: Calls, placed: Placed) -> None:
        self._calls, self._placed, self._steps = calls, placed, calls.steps
        self.items: list[Any] = []
        self.done = 0
        self.span = current_span()
        self._begun = asyncio.get_running_loop().create_future()
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._step: asyncio.Task[StepExecution] | None = None

    @classmethod
    async def begin(cls, calls: Calls, placed: Placed, items: list[Any]) -> _Beside:
        """Raises what it can't begin for."""
        loop = cls(calls, placed)
        loop._step = asyncio.create_task(calls.ended(placed, loop._work, keep={"items": items}))
        calls.function.background.add(loop._step)
        await asyncio.wait([loop._step, loop._begun], return_when=asyncio.FIRST_COMPLETED)
        if not loop._begun.done():  # it had ended in an earlier run, and its rounds are gone through once more
            ended = await loop._step
            if not (ended.decision and "items" in ended.decision):
                raise earlier_failure(ended.error)
            loop.items = ended.decision["items"]
        return loop

    async def _work(self, kept: Mapping[str, Any], doing: Doing) -> None:
        self.items = kept["items"]
        if len(self.items) > MOST_TASKS:
            await doing.as_one(self._rounds, lambda: Progress(self.done, len(self.items)))
        else:
            await self._rounds(doing)

    async def _rounds(self, doing: Doing) -> None:
        self._steps, self.span = doing.steps, current_span()
        self._begun.set_result(None)
        await self._left

    def round(self, number: int) -> Calls:
        """Where the calls of this round are recorded, those before it having ended."""
        self.done = number
        return self._calls.inside(f"{self._placed.path}[{number}].", self._steps, self._placed.after)

    async def end(self, why: BaseException | None = None) -> None:
        """Returns once its end is recorded, unless the execution is parked, and goes on in the loop later.

        Args:
            why: what the author's function as a whole ended with, out of the loop.
        """
        if self._step is None or not self._begun.done():
            return  # it had ended in an earlier run
        if why is None:
            self._left.set_result(None)
        elif isinstance(why, Parked):
            self._left.set_exception(why)
        else:
            step = (isinstance(why, IpaasError) and why.path) or self._placed.path
            self._left.set_exception(StepFailed(step, error_document(why)))
        self._calls.function.background.discard(self._step)
        with suppress(Parked):
            await self._step
