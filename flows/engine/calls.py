"""The actions that an author's Python function calls, as steps of its execution.

A step has the action's name as its path, numbered from the second call on, so a run that starts again after a crash
finds the results of the steps that had finished. Calls made side by side (`asyncio.gather`) come in any order: their
paths are made of what they are called with.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from connectors.kit.call import Called, current_runner
from flows.engine.doing import Doing
from flows.engine.failures import earlier_failure
from flows.engine.invoke import EngineAction
from flows.engine.step import Steps
from flows.history import Status
from flows.language.step import Scope
from foundation.errors import IpaasError


@contextmanager
def calling(steps: Steps, wrote_host: Callable[[str], bool]) -> Iterator[None]:
    """Within it, actions that this task and those it begins call are steps."""
    token = current_runner.set(_Calls(steps, asyncio.current_task(), wrote_host))
    try:
        yield
    finally:
        current_runner.reset(token)


class _Calls:
    """The `StepRunner` of one execution. `author` is the task of its function, whose own calls come in one order."""

    def __init__(self, steps: Steps, author: asyncio.Task[Any] | None, wrote_host: Callable[[str], bool]) -> None:
        self._steps, self._author, self._wrote_host = steps, author, wrote_host
        self._calls: Counter[str] = Counter()
        self._last: str | None = None

    async def run(self, action: Called, arguments: dict[str, Any], body: Callable[[], Awaitable[Any]]) -> Any:
        in_order = asyncio.current_task() is self._author
        path = self._next_path(action.action_name, arguments, in_order=in_order)
        after = [self._last] if in_order and self._last else []
        if in_order:
            self._last = path
        call = _Call(action, arguments, body, self._wrote_host)  # type: ignore[arg-type]  # every action has `fn`
        ended = await self._steps.run(call, path, {}, after)
        if ended.status is Status.FAILED:
            error = call.failure or earlier_failure(ended.error)
            error.path = path
            raise error
        return ended.output

    def _next_path(self, name: str, arguments: Mapping[str, Any], *, in_order: bool) -> str:
        if not in_order:
            name = f"{name}-{hashlib.sha256(repr(arguments).encode()).hexdigest()[:8]}"
        self._calls[name] += 1
        return name if self._calls[name] == 1 else f"{name}-{self._calls[name]}"


@dataclass
class _Call:
    """One call, as a step."""

    called: EngineAction
    arguments: Mapping[str, Any]
    body: Callable[[], Awaitable[Any]]
    wrote_host: Callable[[str], bool]
    decides: ClassVar[bool] = False
    is_instant: ClassVar[bool] = False
    failure: IpaasError | None = field(default=None, init=False)
    """What it raised, as it was raised."""

    @property
    def action(self) -> str:
        return self.called.action_name

    def wanted(self, scope: Scope) -> bool:
        return True

    def render(self, scope: Scope) -> Mapping[str, Any]:
        return self.arguments

    async def run(self, rendered: Mapping[str, Any], doing: Doing) -> Any:
        try:
            return await doing.call(self.called, rendered, self.body, wrote_host=self.wrote_host)
        except IpaasError as error:
            self.failure = error
            raise
