"""Waiting without holding anything: when nothing of an execution goes on but waits, it is parked.

A step that waits says so, and waits until whatever runs at its side waits, too, or has ended. Then the execution ends
here, and begins again when one of the waits has ended: everything that had ended is known then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from flows.history import NewWait

_TURNS: Final = 10
"""Turns of the event loop in which nothing has begun, after which nothing is about to: one step follows another in a
few."""


class Parked(BaseException):
    """The execution waits for something outside. No `Exception`, so that no author takes it for a failure."""


class Parking:
    """The waits of one run of an execution."""

    def __init__(self) -> None:
        self.waits: dict[str, NewWait] = {}
        self.is_parked = False
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Within it, something goes on that is worth staying for."""
        self._busy += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    async def park(self, wait: NewWait) -> NoReturn:
        """Raises Parked once nothing else goes on."""
        self.waits[wait.path] = wait
        try:
            await self._quiet()
        except BaseException:
            if not self.is_parked:  # something at its side has ended what both are in
                del self.waits[wait.path]
            raise
        self.is_parked = True
        raise Parked

    async def _quiet(self) -> None:
        turns = 0
        while turns < _TURNS and not self.is_parked:
            await self._idle.wait()
            await asyncio.sleep(0)
            turns = 0 if self._busy else turns + 1
