"""Each step's action as a Prefect task run, named after the step's path, with edges to the steps it waited for.

A loop that is too long for that is one task run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial, wraps
from typing import Any, cast

from prefect import State, Task, allow_failure
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from connectors.kit.action import Action
from flows.engine.invoke import Attempts, Invocation
from flows.on_prefect.progress import showing


class PrefectInvoke:
    """The `Invoke` of one flow run."""

    def __init__(self) -> None:
        self._states: dict[str, State[Any]] = {}

    async def __call__(self, invocation: Invocation, attempts: Attempts) -> Any:
        if not invocation.alone:
            return await attempts(_logger())
        task = _task(invocation, attempts)
        # A step that failed and may (`on_error: continue`) holds up none; without this, Prefect would start no other.
        waited_for = [allow_failure(state) for path in invocation.after for state in self._states_of(path)]
        arguments: Mapping[str, Any] = invocation.arguments
        # As Prefect's tasks are called: an action's own way would ask the engine again.
        call: Any = partial(Task.__call__, task)
        state: State[Any] = await call(**arguments, return_state=True, wait_for=waited_for)
        self._states[invocation.path] = state
        return await state.aresult()

    def _states_of(self, path: str) -> list[State[Any]]:
        """A step's; those of its items if it is a loop."""
        if path in self._states:
            return [self._states[path]]
        return [state for one, state in self._states.items() if one.startswith(f"{path}[")]


def _task(invocation: Invocation, attempts: Attempts) -> Task[..., Any]:
    """A task that looks like the action, and does what the engine says."""
    action, path = cast("Action[..., Any] | None", invocation.action), invocation.path

    async def run(**_: Any) -> Any:
        async with showing(invocation.progress, path):
            return await attempts(_logger())

    if action is None:
        return Task(run, name=path, task_run_name=path, persist_result=False, cache_policy=NO_CACHE, retries=0)
    task = action.with_options(name=path, task_run_name=path)
    task.fn = wraps(action.fn)(run)
    return task


def _logger() -> Any:
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("ipaas.step")
