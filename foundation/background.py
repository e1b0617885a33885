"""What a process does beside its main work: loops that must not end as long as the process runs.

    background = Background(clock)
    background.start("dispatcher", dispatcher.run)
    …
    await background.stop()

A loop that ends all the same, by returning or by an exception, is logged and begins again after a pause that grows
with every failure. How each one fares can be shown to whoever watches the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from foundation.clock import Clock
from foundation.errors import ConfigurationError

logger = logging.getLogger("ipaas.background")

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 30.0
HEALTHY_SECONDS: Final = 60.0
"""A loop that ran for this long was well: when it ends then, the pauses begin small again."""

Work = Callable[[], Awaitable[object]]


@dataclass
class BackgroundLoop:
    """How one loop fares."""

    name: str
    state: Literal["running", "restarting"] = "running"
    restarts: int = 0
    last_error: str | None = None
    """Only the exception's type, or "ended": its message may hold what is not for everybody who asks."""
    last_ended_at: datetime | None = None
    task: asyncio.Task[None] = field(init=False, repr=False)

    def document(self) -> dict[str, Any]:
        """For a health answer."""
        return {
            "state": self.state,
            "restarts": self.restarts,
            "last_error": self.last_error,
            "last_ended_at": self.last_ended_at.isoformat() if self.last_ended_at else None,
        }


class Background:
    """Runs named loops, and starts each again when it ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loops: dict[str, BackgroundLoop] = {}

    def start(self, name: str, work: Work) -> None:
        """Runs `work()` in this event loop until `stop`.

        Raises:
            ConfigurationError: a loop of this name runs already.
        """
        if name in self._loops:
            raise ConfigurationError(f"a background loop {name!r} runs already")
        loop = BackgroundLoop(name)
        loop.task = asyncio.create_task(self._keep_running(loop, work), name=name)
        self._loops[name] = loop

    @property
    def loops(self) -> Mapping[str, BackgroundLoop]:
        return self._loops

    def document(self) -> dict[str, Any]:
        """Each loop's state, restarts and last error, by name."""
        return {name: loop.document() for name, loop in self._loops.items()}

    def restarted(self) -> dict[str, Any]:
        """The same of those loops only that have ended at least once: empty when all is well."""
        return {name: loop.document() for name, loop in self._loops.items() if loop.restarts}

    async def stop(self) -> None:
        """Cancels all loops, and returns when they have ended."""
        loops = list(self._loops.values())
        for loop in loops:
            loop.task.cancel()
        ends = await asyncio.gather(*(loop.task for loop in loops), return_exceptions=True)
        for loop, end in zip(loops, ends, strict=True):
            if isinstance(end, Exception):
                logger.error("%s failed while it stopped: %s", loop.name, end, exc_info=end)
        self._loops.clear()

    async def _keep_running(self, loop: BackgroundLoop, work: Work) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            loop.state, began = "running", self._clock.now()
            error = await _run(work)
            loop.state, loop.last_ended_at = "restarting", self._clock.now()
            loop.last_error = type(error).__name__ if error else "ended"
            loop.restarts += 1
            if (loop.last_ended_at - began).total_seconds() >= HEALTHY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            logger.error("%s ended (%s); it begins again in %g s", loop.name, _told(error), pause, exc_info=error)
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def _run(work: Work) -> BaseException | None:
    """The exception that ended it, if one did. When this task is cancelled, what it ends with goes on up."""
    try:
        await work()
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error  # of a CancelledError: something within was cancelled, not this loop
    return None


def _told(error: BaseException | None) -> str:
    if error is None:
        return "it returned"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
