"""Being told to stop: once to finish what is under way, twice to end at once; and an end to waiting for it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading

logger = logging.getLogger("ipaas.platform.stopping")


class StopSignals:
    """Ctrl-C and SIGTERM, as events. To be made within the event loop.

    Only Ctrl-C says "at once" the second time: a service manager sends SIGTERM to every process of a service, and
    whoever started this one sends another.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.again = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.asked.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)

    def _interrupted(self) -> None:
        (self.again if self.asked.is_set() else self.asked).set()


def end_within(seconds: float, *, what: str) -> threading.Timer:
    """Ends this process in so many seconds, unless it has ended by then, or the timer was cancelled.

    A thread of its own does it, so that not even an event loop that is blocked can keep the process.
    """

    def end() -> None:
        logger.error("the %s ends now: something that it waits for has not answered for %g s", what, seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer
