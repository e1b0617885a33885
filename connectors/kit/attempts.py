"""How one step is tried: its timeout, its retries, and the masking of everything that comes out of it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from connectors.kit.call import Call, current_call
from connectors.kit.retry import RetryPolicy, retried
from foundation.errors import ActionError, IpaasError, StepTimeout


async def run_attempts(
    name: str,
    body: Callable[[], Awaitable[Any]],
    *,
    call: Call,
    policy: RetryPolicy | None = None,
    timeout: float | None = None,
) -> tuple[Any, int]:
    """Runs `body`, one call of the action called `name`, until it succeeds or may not be tried again.

    Args:
        call: what the action sees as `current_call`; its `attempt` is set for each attempt.
        policy: the step's declared retries; None leaves them to the connector, request by request.
        timeout: seconds each attempt may take, its connector's own retries included.

    Returns:
        The masked result, and how many attempts were made, the connector's own retries included.

    Raises:
        IpaasError: the last attempt's error, masked, with `attempts` set.
        asyncio.CancelledError: untouched.
    """
    made = 0

    async def attempt(number: int) -> Any:
        nonlocal made
        made = number
        declared = call.retry_declared or policy is not None
        token = current_call.set(replace(call, attempt=number, retry_declared=declared))
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await body()
        except TimeoutError as error:
            if limit.expired():
                message = f"{name} took longer than its timeout of {timeout:g} s"
                raise StepTimeout(message, retriable=True) from None
            raise _unexpected(error, call) from None
        except IpaasError as error:
            error.args = (call.services.masker.mask(str(error)),)
            raise
        except Exception as error:  # noqa: BLE001 (whatever an author's code raises fails the step)
            raise _unexpected(error, call) from None
        finally:
            current_call.reset(token)

    try:
        result = await retried(
            attempt, policy or RetryPolicy(attempts=1), clock=call.services.clock, note=call.logger.warning
        )
    except IpaasError as error:
        error.attempts = made + len(call.repeats)
        failure = error
    else:
        return call.services.masker.mask_json(result), made + len(call.repeats)
    failure.__cause__ = failure.__context__ = None  # what caused it may quote a secret; a traceback would print it
    raise failure


def _unexpected(error: Exception, call: Call) -> ActionError:
    """A fault in the action itself. Where it happened goes to the log, since the error carries one line only."""
    mask = call.services.masker.mask
    call.logger.error(mask("".join(traceback.format_exception(error))))
    return ActionError(mask(f"{type(error).__name__}: {' '.join(str(error).split())}"))
