"""`step`: an author's own function as a recorded step."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, TypeVarTuple, overload

from connectors.kit.attempts import run_attempts
from connectors.kit.call import Call, current_call
from flows.engine.authors_code import as_json, own_failure
from flows.engine.calls import current_calls
from flows.engine.doing import Doing
from flows.engine.invoke import Invocation, Logger
from flows.language.step import STEP_ID

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


@overload
async def step(function: Callable[[*Ts], Awaitable[T]], *args: *Ts, id: str | None = None) -> T: ...
@overload
async def step(function: Callable[[*Ts], T], *args: *Ts, id: str | None = None) -> T: ...
async def step(  # type: ignore[misc]  # mypy does not see that Any takes what *Ts stands for
    function: Callable[..., Any], *args: Any, id: str | None = None
) -> Any:
    """Runs a function of the author's own as a step: its result is recorded, and it does not run again after a crash.

    What a function is not sure to do the same way each time belongs in one: reading a clock or a file, chance, a
    client library's request. What it calls, actions included, is no step of its own.

    Args:
        function: an async one, or any other, which runs in a thread.
        args: what it is called with.
        id: its path; default: the function's name, from the second call on with a number.

    Returns:
        What the function returned: JSON, tuples as lists.

    Raises:
        ActionError: it raised something, or returned what is no JSON. The message has the line of the author's file.
    """
    calls = current_calls("step")
    name = getattr(function, "__name__", type(function).__name__)
    name = name if STEP_ID.fullmatch(name) else "step"
    file = getattr(inspect.unwrap(function), "__code__", None)

    async def body() -> Any:
        try:
            if inspect.iscoroutinefunction(function):
                result = await function(*args)
            else:
                result = await asyncio.to_thread(function, *args)
                result = await result if inspect.isawaitable(result) else result
            return as_json(result, f"what {name} returns")
        except Exception as error:  # noqa: BLE001 - whatever the author's code raises fails the step
            call = current_call.get()
            call.logger.error(call.services.masker.mask("".join(traceback.format_exception(error))))
            raise own_failure(error, file.co_filename if file else calls.function.file) from None

    async def work(kept: Mapping[str, Any], doing: Doing) -> Any:
        async def attempts(logger: Logger) -> Any:
            call = Call(
                services=doing.steps.services,
                execution_id=doing.steps.execution_id,
                path=doing.path,
                logger=logger,
                wrote_host=calls.function.wrote_host,
            )
            result, doing.attempts = await run_attempts(name, body, call=call)
            return result

        with doing.steps.parking.busy():
            return await doing.steps.invoke(Invocation(None, doing.path, {}, doing.after, doing.steps.alone), attempts)

    return await calls.perform(await calls.place("step", name, list(args), id=id), work)
