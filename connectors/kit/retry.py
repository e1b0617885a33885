"""When a failed call is tried again, and how long it waits. One loop serves both kinds of retry:

- `RetryPolicy`: what a step declares (`retry:`); the whole action is tried again.
- `SafeRetries`: what every request gets when its step declares nothing; only what can't do harm twice.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from foundation.clock import Clock
from foundation.errors import ActionError, CircuitOpen, ConnectionFailed, IpaasError, RemoteError, StepTimeout

T = TypeVar("T")

MAX_RETRY_AFTER_SECONDS = 300.0
"""The longest a declared retry waits because the other system asks for it."""


class Policy(Protocol):
    @property
    def attempts(self) -> int:
        """How often it is tried in all."""
        ...

    def covers(self, error: IpaasError) -> bool:
        """Whether this failure is worth another attempt."""
        ...

    def wait(self, attempt: int, error: IpaasError) -> float:
        """Seconds to wait after the failed `attempt`, counted from 1."""
        ...


@dataclass(frozen=True)
class RetryPolicy:
    """A step's `retry`, at run time.

    Args:
        attempts: how often the action is tried in all; 1 never retries.
        delay: seconds before the second attempt.
        backoff: `exponential` doubles the delay each time, `linear` adds it each time, `constant` keeps it.
        max_delay: seconds; the delay never grows past it.
        on: what is retried: a status (429), `"4xx"`, `"5xx"`, `"timeout"` or `"connection"`. Empty: whatever says of
            itself that trying again can help (`error.retriable`).
    """

    attempts: int = 3
    delay: float = 1.0
    backoff: Literal["constant", "linear", "exponential"] = "exponential"
    max_delay: float = 30.0
    on: Sequence[int | str] = ()

    def covers(self, error: IpaasError) -> bool:
        return any(_matches(item, error) for item in self.on) if self.on else error.retriable

    def wait(self, attempt: int, error: IpaasError) -> float:
        factor = {"constant": 1.0, "linear": float(attempt), "exponential": 2.0 ** min(attempt - 1, 64)}[self.backoff]
        return max(min(self.delay * factor, self.max_delay), min(_retry_after(error), MAX_RETRY_AFTER_SECONDS))


@dataclass(frozen=True)
class SafeRetries:
    """The retries of a single request whose step declares none.

    GET, HEAD, PUT, DELETE and OPTIONS are safe to repeat (RFC 9110, 9.2.2) after a broken connection, 429, 502, 503 and
    504; any other method only on a 429 or 503 with `Retry-After`, by which the other system says that it did nothing.
    """

    method: str
    attempts: int = 3

    def covers(self, error: IpaasError) -> bool:
        repeatable = self.method.upper() in {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}
        if isinstance(error, RemoteError):
            asked = error.status in {429, 503} and error.retry_after is not None
            return asked or (repeatable and error.status in {429, 502, 503, 504})
        return repeatable and isinstance(error, ConnectionFailed)

    def wait(self, attempt: int, error: IpaasError) -> float:
        """0.5 s, then 1 s, each with up to as much jitter, so that many callers don't come back at once."""
        delay = 0.5 * 2.0 ** (attempt - 1)
        return max(delay + random.uniform(0, delay), min(_retry_after(error), 60.0))  # noqa: S311 - not for secrets


async def retried(
    once: Callable[[int], Awaitable[T]], policy: Policy, *, clock: Clock, note: Callable[[str], None]
) -> T:
    """Calls `once(attempt)` until it succeeds or the policy gives up; `note` is told of every retry before its wait.

    Raises:
        IpaasError: the last attempt's.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await once(attempt)
        except IpaasError as error:
            if attempt >= policy.attempts or not policy.covers(error):
                raise
            wait, reason = policy.wait(attempt, error), str(error)
        note(f"attempt {attempt + 1} of {policy.attempts} in {wait:.1f} s: {reason}")
        await clock.sleep(wait)


def _retry_after(error: IpaasError) -> float:
    return (error.retry_after or 0.0) if isinstance(error, ActionError) else 0.0


def _matches(item: int | str, error: IpaasError) -> bool:
    if item == "timeout":
        return isinstance(error, StepTimeout)
    if item == "connection":
        return isinstance(error, ConnectionFailed | CircuitOpen)
    if not isinstance(error, RemoteError):
        return False
    word = str(item).lower()
    return error.status // 100 == int(word[0]) if word in {"4xx", "5xx"} else word == str(error.status)
