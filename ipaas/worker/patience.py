"""Not looking at the same thing all the time: the longer it stays as it is, the less often."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass
class _Waiting:
    pause: float
    until: float
    seen: float


class Patience:
    """Doubles the pause each time.

    Args:
        first, longest: the pauses' bounds, in seconds.
        monotonic: seconds that only grow.
    """

    def __init__(self, monotonic: Callable[[], float], *, first: float, longest: float) -> None:
        self._monotonic, self._first, self._longest = monotonic, first, longest
        self._waiting: dict[Hashable, _Waiting] = {}

    def is_over(self, thing: Hashable) -> bool:
        """Whether to look at it."""
        known = self._waiting.get(thing)
        if known is None:
            return True
        known.seen = self._monotonic()
        return known.until <= known.seen

    def wait(self, thing: Hashable) -> bool:
        """Looks at it again later; True the first time."""
        now, known = self._monotonic(), self._waiting.get(thing)
        pause = min(2 * known.pause, self._longest) if known else self._first
        self._waiting[thing] = _Waiting(pause, now + pause, now)
        self._forget(now - 2 * self._longest)
        return known is None

    def end(self, thing: Hashable) -> None:
        """It changed: look at it whenever it comes up."""
        self._waiting.pop(thing, None)

    def _forget(self, before: float) -> None:
        """What has not come up for long is settled."""
        for thing in [thing for thing, known in self._waiting.items() if known.seen < before]:
            del self._waiting[thing]
