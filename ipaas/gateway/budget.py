"""How many bytes of bodies the gateway holds: one budget for all that are in flight, turns for what is worked on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from ipaas.gateway.problems import Problem, unavailable

SLOW_SECONDS = 2.0
"""When the budget is used up: a body that has been coming for longer makes room for those that come quickly."""
TURN_SECONDS = 15.0
"""How long an event waits for its turn to be stored."""


class BodyBudget:
    """Bodies being read, understood and stored.

    What is beyond the limit is refused before it is read. Bodies that trickle do not keep others out: the oldest
    unfinished ones are given up first.

    Args:
        limit: bytes, of all bodies together.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0
        self._coming: dict[Share, None] = {}
        """Those not complete yet, oldest first."""

    @contextmanager
    def share(self) -> Iterator[Share]:
        """One request's share, which is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self._coming.pop(share, None)
            self.held -= share.size

    def begin(self, share: Share) -> None:
        self._coming[share] = None

    def complete(self, share: Share) -> None:
        self._coming.pop(share, None)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes could be taken, if need be from those that are slow."""
        beyond = self.held + size - self.limit
        return beyond <= 0 or beyond <= sum(share.size for share in self._slow())

    def make_room(self, share: Share, size: int) -> None:
        """Raises Problem 503."""
        for slow in self._slow():
            if self.held + size <= self.limit:
                return
            if slow is not share:
                self.held -= slow.size
                del self._coming[slow]
                slow.give_up()
        if self.held + size > self.limit:
            raise _no_room()

    def _slow(self) -> list[Share]:
        return [share for share in self._coming if share.is_slow]


class Share:
    """What one request holds of the budget."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget, self._loop = budget, asyncio.get_running_loop()
        self._since = self._loop.time()
        self._deadline: asyncio.Timeout | None = None
        self._given_up = False
        self.size = 0

    @property
    def is_slow(self) -> bool:
        return self._loop.time() - self._since > SLOW_SECONDS

    def expect(self, size: int) -> None:
        """Raises Problem 503 when there would be no room. Nothing is taken yet: who only announces holds nothing."""
        if not self._budget.has_room(size):
            raise _no_room()

    def begin(self, deadline: asyncio.Timeout) -> None:
        """The body begins to come; it is given up by way of the deadline."""
        self._deadline = deadline
        self._budget.begin(self)

    def add(self, size: int) -> None:
        """Raises Problem 503 when there is no room for these bytes."""
        self.check()
        if self._budget.held + size > self._budget.limit:
            self._budget.make_room(self, size)
        self.size += size
        self._budget.held += size

    def complete(self) -> None:
        """The whole body is there."""
        self.check()
        self._budget.complete(self)

    def check(self) -> None:
        """Raises Problem 503 when the body was given up."""
        if self._given_up:
            raise _no_room()

    def give_up(self) -> None:
        self.size, self._given_up = 0, True
        if self._deadline is not None:
            self._deadline.reschedule(self._loop.time())


def _no_room() -> Problem:
    return unavailable("the gateway holds as many bodies as it can; please send it again", reason="bodies")


class Turns:
    """Events are understood and handed to the history so many bytes at a time, in the order they came.

    A few large ones fill a transaction as well as many small ones do; the others wait here, and not in it.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._taken = limit, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[None]:
        """Raises Problem 503 when it takes too long."""
        size = min(size, self._limit)
        if self._waiting or self._taken + size > self._limit:
            await self._wait(size)
        else:
            self._taken += size
        try:
            yield
        finally:
            self._taken -= size
            self._let_in()

    async def _wait(self, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._taken -= size  # it had come just then
            turn.cancel()
            self._let_in()
            if isinstance(error, TimeoutError):
                detail = "events come faster than they can be stored; please send it again"
                raise unavailable(detail, reason="turns") from None
            raise

    def _let_in(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._taken + self._waiting[0][0] <= self._limit):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += size
                turn.set_result(None)
