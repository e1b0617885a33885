"""How a step's action is called, a seam: as a Prefect task in a flow run, as the plain function elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from connectors.kit.call import Called
from flows.language.step import Progress

Logger = logging.Logger | logging.LoggerAdapter[Any]
Attempts = Callable[[Logger], Awaitable[Any]]
"""Tries the action as often as its step says, and returns its masked result; its log lines go to the given logger."""


class EngineAction(Called, Protocol):
    """What the engine needs of an action."""

    @property
    def fn(self) -> Callable[..., Awaitable[Any]]: ...


@dataclass(frozen=True)
class Invocation:
    """One step's action and what it is called with.

    Attributes:
        action: None: it is a long loop as a whole, whose items' actions are invoked within it, or an author's function.
        after: the paths of the steps that it waited for.
        alone: whether it is worth a task of its own; those within a long loop are not.
        progress: how far the long loop has come.
    """

    action: EngineAction | None
    path: str
    arguments: Mapping[str, Any]
    after: Sequence[str] = ()
    alone: bool = True
    progress: Callable[[], Progress] | None = None


class Invoke(Protocol):
    async def __call__(self, invocation: Invocation, attempts: Attempts) -> Any: ...


async def call_directly(invocation: Invocation, attempts: Attempts) -> Any:
    """The action as a plain function: in `ipaas run --local` and tests."""
    return await attempts(logging.getLogger("ipaas.step"))
