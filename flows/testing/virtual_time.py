"""Time that passes only when everything waits for it, and then at once: a wait of three days takes no time."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from flows.testing.requests import Unanswered

T = TypeVar("T")

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What a test's clock shows at first."""


class VirtualTime:
    """An event loop of its own time. Runs one thing after the other, also for a caller who is in a loop himself."""

    def __init__(self) -> None:
        self.loop = _Loop()
        self._runner = asyncio.Runner(loop_factory=lambda: self.loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runner.close()
        self.loop.close()  # which the runner does only if it has run something

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if not _is_in_loop():
            return self._runner.run(work)
        with ThreadPoolExecutor(1) as thread:  # an async test: its own loop can't run another one
            return thread.submit(copy_context().run, self._runner.run, work).result()


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class VirtualClock:
    """The loop's time as a date. Moved by waiting, and by hand."""

    def __init__(self, time: VirtualTime, start: datetime = START) -> None:
        self._loop = time.loop
        self.set(start)

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._loop.time() - self._zero)

    def set(self, moment: datetime) -> None:
        """Makes it `moment`, which has a time zone, now."""
        self._start, self._zero = moment.astimezone(UTC), self._loop.time()

    def move(self, **by: float) -> None:
        """Moves it by a `timedelta(**by)`: `move(days=3)`."""
        self.set(self.now() + timedelta(**by))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Loop(asyncio.SelectorEventLoop):
    """Every timer of asyncio goes by its time, those of timeouts too. It lets nothing out to the network."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._in_threads = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._seconds

    def pass_time(self, seconds: float) -> None:
        self._seconds += seconds

    @property
    def is_busy(self) -> bool:
        """Whether a thread works for it, which takes real time."""
        return self._in_threads > 0

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, future: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        raise Unanswered(f"{_text(host)}:{_text(port)}")

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        raise Unanswered(":".join(map(str, address[:2])) if isinstance(address, tuple) else str(address))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class _Selector(selectors.DefaultSelector):
    """Where a loop would wait for its next timer, its time goes on to it. While a thread works for it, time is real."""

    def __init__(self, loop: _Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self._loop.is_busy:
            started = monotonic()
            events = super().select(timeout)
            self._loop.pass_time(monotonic() - started)
            return events
        events = super().select(0)
        if not events:
            self._loop.pass_time(timeout)
        return events
