"""`each`: YAML's `for_each` for an author's function.

Its list is recorded once, when it begins, and what is done in its rounds under the round's path: `lines[3].reserve`.
`async for` goes through the list in the author's own code, one round after the other: Python has no way to be at two
places of one function at once. When the function starts again, so do its rounds, since what they add up in variables
is nowhere else; the steps that had ended in them give their recorded results. Rounds side by side are calls of a
function of their own, and what that returns is recorded: rounds that had ended are not called again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, ClassVar, Generic, Literal, TypedDict, TypeVar, overload

from pydantic import PrivateAttr, ValidationError

from connectors.kit.call import current_runner
from flows.engine.calls import Calls, Placed, as_json, current_calls, own_failure
from flows.engine.doing import Doing
from flows.engine.failures import NotRun, earlier_failure, error_document
from flows.expressions import Placeholder
from flows.expressions.values import describe
from flows.history import Status, StepExecution
from flows.language.for_each import MOST_TASKS, ROUND, ForEach, LoopRounds
from flows.language.outcomes import StepFailed
from flows.language.step import Scope
from foundation.errors import ActionError, DefinitionError, IpaasError, StorageUnavailable
from foundation.tracing import current_span, go_on_below

T = TypeVar("T")
R = TypeVar("R")


class Failure(TypedDict):
    """What went wrong, as `error` has it in YAML."""

    message: str
    code: str
    step: str | None
    status: int | None


class FailedRound(TypedDict):
    """What stands in place of the result of a round that was allowed to fail."""

    error: Failure


@overload
def each(items: Iterable[T], *, id: str | None = None) -> AsyncIterable[T]: ...
@overload
def each(
    items: Iterable[T],
    function: Callable[[T], Awaitable[R]],
    *,
    concurrency: int = 1,
    collect: Literal[True] = True,
    id: str | None = None,
) -> Coroutine[Any, Any, list[R]]: ...
@overload
def each(
    items: Iterable[T],
    function: Callable[[T], Awaitable[R]],
    *,
    concurrency: int = 1,
    collect: Literal[True] = True,
    tolerate: int | str = 0,
    on_error: Literal["fail", "continue"] = "fail",
    id: str | None = None,
) -> Coroutine[Any, Any, list[R | FailedRound]]: ...
@overload
def each(
    items: Iterable[T],
    function: Callable[[T], Awaitable[Any]],
    *,
    collect: Literal[False],
    concurrency: int = 1,
    tolerate: int | str = 0,
    on_error: Literal["fail", "continue"] = "fail",
    id: str | None = None,
) -> Coroutine[Any, Any, None]: ...
def each(
    items: Iterable[Any],
    function: Callable[[Any], Awaitable[Any]] | None = None,
    *,
    id: str | None = None,
    **options: Any,
) -> Any:
    """A durable loop: `async for line in each(lines): …`, or `await each(lines, reserve, concurrency=5)`.

    Args:
        items: JSON. What the list is when the loop begins is recorded, and is the list from then on.
        function: what is done for each item; `each` gives what it returned for them, in their order (JSON).
        concurrency: how many items are worked on at the same time.
        collect: False keeps no results.
        tolerate: so many failed items do not fail the loop: a number, or `5%`. In place of their results stands
            `{"error": …}`.
        on_error: "continue": no number of failed items fails it.
        id: its path; default: `each`, from the second one on with a number.

    Raises:
        DefinitionError: an option is wrong, or is one that only rounds of a function have.
    """
    if function is None:
        if options:
            raise DefinitionError(
                f"each(…, {next(iter(options))}=…): the rounds of an `async for` are one function's, which does one "
                "thing after the other. Make what is done for an item a function of its own: "
                f"`await each(items, function, {next(iter(options))}=…)`"
            )
        return _InOrder(items, id)
    try:
        loop = _Loop.model_validate({"id": id or "each", "for_each": (), "uses": "-", **options})
    except ValidationError as invalid:
        fault = invalid.errors(include_url=False)[0]
        raise DefinitionError(f"each: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    return _side_by_side(items, function, loop, id)


def _listed(items: Iterable[Any]) -> list[Any]:
    if isinstance(items, Placeholder):
        return [items[0]]
    if isinstance(items, (str, Mapping)):
        raise ActionError(f"each goes through a list, and this is {describe(items)}")
    return [as_json(item, "each: the list") for item in items]


async def _place(calls: Calls, items: list[Any], id: str | None) -> Placed:
    return await calls.place(ForEach.kind, "each", items, id=id, same=False)


# Rounds that are calls of a function


class _Loop(ForEach):
    _function: Callable[[Any], Awaitable[Any]] = PrivateAttr()
    _calls: Calls = PrivateAttr()

    async def once(self, scope: Scope, number: int, doing: Doing) -> Any:  # type: ignore[override]  # the engine's own
        path = f"{doing.path}[{number}]"
        try:
            ended = await doing.steps.run(_Round(self, scope[self.as_]), path, scope, doing.after)
        finally:
            doing.steps.journal.forget([path])
        if ended.status is Status.FAILED:
            raise StepFailed(path, ended.error)
        return ended.output


class _Round:
    """One call of the function, as a step."""

    action: ClassVar[str] = ROUND
    decides: ClassVar[bool] = False
    is_instant: ClassVar[bool] = False

    def __init__(self, loop: _Loop, item: Any) -> None:
        self._loop, self._item = loop, item

    def wanted(self, scope: Scope) -> bool:
        return True

    def render(self, scope: Scope) -> None:
        return None

    async def run(self, rendered: Any, doing: Doing) -> Any:
        calls = self._loop._calls.inside(f"{doing.path}.", doing.steps, doing.after)
        token = current_runner.set(calls)
        try:
            result = await self._loop._function(self._item)
            return doing.mask(as_json(result, "what a round returns")) if self._loop.collect else None
        except (NotRun, StorageUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever the author's code raises fails the round
            await doing.steps.cancel_inside(set(calls.paths))
            failure = own_failure(error, calls.function.file)
            raise StepFailed(failure.path or doing.path, error_document(failure)) from None
        finally:
            current_runner.reset(token)
            doing.steps.journal.forget(calls.paths)


async def _side_by_side(
    items: Iterable[Any], function: Callable[[Any], Awaitable[Any]], loop: _Loop, id: str | None
) -> Any:
    calls, listed = current_calls("each"), _listed(items)
    loop._function, loop._calls = function, calls

    async def work(kept: Mapping[str, Any], doing: Doing) -> Any:
        rounds = LoopRounds(loop, kept["items"])
        if len(rounds.items) > MOST_TASKS:
            await doing.as_one(rounds.run)
        else:
            await rounds.run(doing)
        return rounds.outputs

    return await calls.perform(await _place(calls, listed, id), work, keep={"items": listed})


# Rounds in the author's own code


class _InOrder(Generic[T]):
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
            items = _listed(self._given)
            self._loop = await _Beside.begin(self._outer, await _place(self._outer, items, self._id), items)
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
            await doing.as_one(self._rounds)
        else:
            await self._rounds(doing)

    async def _rounds(self, doing: Doing) -> None:
        self._steps, self.span = doing.steps, current_span()
        self._begun.set_result(None)
        await self._left

    def round(self, number: int) -> Calls:
        """Where the calls of this round are recorded."""
        return self._calls.inside(f"{self._placed.path}[{number}].", self._steps, self._placed.after)

    async def end(self, failure: Exception | None = None) -> None:
        """Returns once its end is recorded.

        Args:
            failure: what the author's function as a whole ended with, out of the loop.
        """
        assert self._step is not None  # noqa: S101 - `begin` made it
        if failure is None:
            self._left.set_result(None)
        else:
            step = (isinstance(failure, IpaasError) and failure.path) or self._placed.path
            self._left.set_exception(StepFailed(step, error_document(failure)))
        await self._step
