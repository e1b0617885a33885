"""Words that a Python workflow has in common with YAML: expressions, failures, cleaning up, and side by side."""

from __future__ import annotations

import asyncio
import copy
import logging
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar, overload

from connectors.kit.call import current_runner
from flows.engine.calls import Calls, current_calls
from flows.engine.each import Failure
from flows.engine.failures import NonDeterministic, NotRun, error_document
from flows.engine.parking import Parked
from flows.expressions import Expression, compile_url, compile_value, render_template
from flows.language.ends import FailedOnPurpose
from flows.language.outcomes import as_seen
from foundation.errors import IpaasError, StorageUnavailable

T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T = TypeVar("T")

logger = logging.getLogger("ipaas.engine")


def render(template: Any, /, **names: Any) -> Any:
    """What a text with `{{ … }}`, or any JSON with such texts, gives in YAML.

    Args:
        names: what it refers to, beyond `event`, `workflow`, `execution` and `now`.

    Raises:
        ExpressionError: it is faulty, or something that it refers to is missing.
    """
    return _rendered(compile_value, template, names)


def address(template: str, /, **names: Any) -> str:
    """As `render`, for an address: what stands in it is encoded for its place, and can't leave it."""
    made: str = _rendered(compile_url, template, names)
    return made


def _rendered(compile_it: Callable[..., Expression], template: Any, names: dict[str, Any]) -> Any:
    runner = current_runner.get(None)
    known = runner.function.scope if isinstance(runner, Calls) else {}
    scope = {**known, "steps": {}, **names}
    return compile_it(template, frozenset(scope)).render(scope)


def text(value: Any) -> str:
    """JSON as it stands within a text in YAML: a text as it is, anything else as JSON writes it."""
    return value if isinstance(value, str) else str(render_template("{{ value }}{{ '' }}", {"value": value}))


class Failed(FailedOnPurpose):
    """Raised, it fails the execution, or what is around it, as YAML's `fail`.

    Args:
        code: the author's own, for machines.
        id: by which the failure is known, as a step's.
    """

    def __init__(self, message: str, *, code: str = "failed", id: str | None = None) -> None:
        super().__init__(message, code)
        runner = current_runner.get(None)
        if id is not None:
            self.path = (runner.prefix if isinstance(runner, Calls) else "") + id


def failure(error: Exception) -> Failure:
    """What was raised, as `error` has it in YAML."""
    document = {"step": error.path if isinstance(error, IpaasError) else None, **error_document(error)}
    seen: Any = as_seen(document)
    found: Failure = seen
    return found


class cleanup:  # noqa: N801 - it reads as a word: `with cleanup():`
    """For a `finally`: when something has failed before, what fails within is logged, and does not hide that.

    In a `finally` that stands in an `except`, what that has caught counts as failed before.
    """

    def __enter__(self) -> None:
        self._before = sys.exception()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or not isinstance(self._before, Exception):
            return False
        logger.warning("cleaning up failed, too: %s", failure(error)["message"])
        return True


@overload
async def gather(one: Awaitable[T1], two: Awaitable[T2], /) -> tuple[T1, T2]: ...
@overload
async def gather(one: Awaitable[T1], two: Awaitable[T2], three: Awaitable[T3], /) -> tuple[T1, T2, T3]: ...
@overload
async def gather(*awaitables: Awaitable[T]) -> tuple[T, ...]: ...
async def gather(*awaitables: Awaitable[Any]) -> tuple[Any, ...]:
    """Waits for all of them at the same time; what they gave. As `asyncio.gather`, but one that fails ends the others.

    What one calls is told apart from what another calls by its arguments, so give calls with the same ones a name:
    `http.request.with_id("stock")`.
    """
    calls = current_calls("gather")
    branches = [_Branch(calls) for _ in awaitables]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch.run(one)) for branch, one in zip(branches, awaitables, strict=True)]
    except BaseExceptionGroup as errors:
        ends = (Parked, NotRun, StorageUnavailable, NonDeterministic)
        if found := [one for one in errors.exceptions if isinstance(one, ends)]:
            raise found[0] from None
        await calls.steps.cancel_inside({path for branch in branches for path in branch.calls.paths})
        raise errors.exceptions[0] from None
    finally:
        paths = [path for branch in branches for path in branch.calls.paths]
        calls.paths += paths
    calls.after = paths or calls.after
    return tuple(task.result() for task in tasks)


class _Branch:
    """One of several things that are done side by side."""

    def __init__(self, calls: Calls) -> None:
        self.calls = copy.copy(calls)
        self.calls.paths = []

    async def run(self, awaitable: Awaitable[T]) -> T:
        current_runner.set(self.calls)
        return await awaitable
