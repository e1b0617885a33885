"""A circuit breaker: a system that keeps failing is left alone for a while instead of being asked again and again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from foundation.clock import Clock
from foundation.errors import CircuitOpen, ConnectionFailed, RemoteError, StepTimeout

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 60.0


@dataclass
class _Circuit:
    failures: int = 0
    opened_at: datetime | None = None
    probing: bool = False


class Circuits:
    """One circuit for each key, here host and credential. Shared by all calls of a process.

    Five failures in a row open a circuit for 60 s: calls fail at once with `CircuitOpen`. Then one call is let through
    as a probe; if it succeeds the circuit closes, if it fails it stays open for another 60 s. A failure is a system
    that can't be reached, doesn't answer in time, or answers with 5xx; any other answer shows that it is alive.
    """

    def __init__(self) -> None:
        self._circuits: dict[Hashable, _Circuit] = {}

    @contextmanager
    def passing(self, key: Hashable, *, name: str, clock: Clock) -> Iterator[None]:
        """Guards one request. `name` is what the error calls the system.

        Raises:
            CircuitOpen: the circuit is open, or its probe is under way; nothing was sent.
        """
        self._admit(key, name, clock.now())
        try:
            yield
        except Exception as error:
            if _is_failure(error):
                self._failed(key, clock.now())
            else:
                self._circuits.pop(key, None)
            raise
        except BaseException:  # cancelled: tells nothing about the other system, so the next call may probe
            if circuit := self._circuits.get(key):
                circuit.probing = False
            raise
        else:
            self._circuits.pop(key, None)  # only failing systems take memory

    def _admit(self, key: Hashable, name: str, now: datetime) -> None:
        circuit = self._circuits.get(key)
        if circuit is None or circuit.opened_at is None:
            return
        left = OPEN_SECONDS - (now - circuit.opened_at).total_seconds()
        if left > 0 or circuit.probing:
            raise CircuitOpen(
                f"{name} failed {circuit.failures} times in a row; nothing is sent to it for a while",
                retriable=True,
                retry_after=max(left, 1.0),
            )
        circuit.probing = True

    def _failed(self, key: Hashable, now: datetime) -> None:
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.failures += 1
        circuit.probing = False
        if circuit.failures >= FAILURES_TO_OPEN:
            circuit.opened_at = now


def _is_failure(error: Exception) -> bool:
    if isinstance(error, RemoteError):
        return error.status >= 500
    return isinstance(error, ConnectionFailed | StepTimeout)
