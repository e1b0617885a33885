"""`each`: YAML's `for_each` for an author's function.

Its list is recorded once, when it begins, and what is done in its rounds under the round's path: `lines[3].reserve`.
`async for` is in `in_order`. Here are the rounds that are calls of a function of their own, which may be side by side:
what it returns is recorded, so rounds that had ended are not called again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, ClassVar, Literal, TypedDict, TypeVar, overload

from pydantic import PrivateAttr, ValidationError

from connectors.kit.call import current_runner
from flows.engine.authors_code import as_json, own_failure
from flows.engine.calls import Calls, current_calls
from flows.engine.doing import Doing
from flows.engine.failures import NotRun, error_document
from flows.engine.in_order import InOrder, listed, place
from flows.history import Status
from flows.language.for_each import MOST_TASKS, ROUND, ForEach, LoopRounds
from flows.language.outcomes import StepFailed
from flows.language.step import Scope
from foundation.errors import DefinitionError, StorageUnavailable

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
        return InOrder(items, id)
    try:
        loop = _Loop.model_validate({"id": id or "each", "for_each": (), "uses": "-", **options})
    except ValidationError as invalid:
        fault = invalid.errors(include_url=False)[0]
        raise DefinitionError(f"each: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    return _side_by_side(items, function, loop, id)


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
    is_bound: ClassVar[bool] = False
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
    calls, found = current_calls("each"), listed(items)
    loop._function, loop._calls = function, calls

    async def work(kept: Mapping[str, Any], doing: Doing) -> Any:
        rounds = LoopRounds(loop, kept["items"])
        if len(rounds.items) > MOST_TASKS:
            await doing.as_one(rounds.run, rounds.progress)
        else:
            await rounds.run(doing)
        return rounds.outputs

    return await calls.perform(await place(calls, found, id), work, keep={"items": found})
