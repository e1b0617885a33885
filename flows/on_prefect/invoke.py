"""Each step's action as a Prefect task run, named after the step, with edges to the steps it waited for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial, wraps
from typing import Any, cast

from prefect import State, Task, allow_failure
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from connectors.kit.action import Action
from flows.engine.invoke import Attempts, Invocation


class PrefectInvoke:
    """The `Invoke` of one flow run."""

    def __init__(self) -> None:
        self._states: dict[str, State[Any]] = {}

    async def __call__(self, invocation: Invocation, attempts: Attempts) -> Any:
        task = _task(cast("Action[..., Any]", invocation.action), invocation.path, attempts)
        # A step that failed and may (`on_error: continue`) holds up none; without this, Prefect would start no other.
        waited_for = [allow_failure(self._states[path]) for path in invocation.after if path in self._states]
        arguments: Mapping[str, Any] = invocation.arguments
        # As Prefect's tasks are called: an action's own way would ask the engine again.
        call: Any = partial(Task.__call__, task)
        state: State[Any] = await call(**arguments, return_state=True, wait_for=waited_for)
        self._states[invocation.path] = state
        return await state.aresult()


def _task(action: Action[..., Any], path: str, attempts: Attempts) -> Task[..., Any]:
    """A task that looks like the action, and does what the engine says."""
    task = action.with_options(name=path, task_run_name=path)

    @wraps(action.fn)
    async def run(**_: Any) -> Any:
        return await attempts(_logger())

    task.fn = run
    return task


def _logger() -> Any:
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("ipaas.step")
