"""Loops beside a process's main work: they are started again when they end, and it can be seen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from foundation.background import FIRST_PAUSE_SECONDS, HEALTHY_SECONDS, LONGEST_PAUSE_SECONDS, Background
from foundation.clock import ManualClock
from foundation.errors import ConfigurationError


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def background(clock: ManualClock) -> AsyncIterator[Background]:
    background = Background(clock)
    yield background
    await background.stop()


class Loop:
    """Does what its script says, once a run: raises what is an exception, returns at None; then it stays."""

    def __init__(self, *script: BaseException | None) -> None:
        self._script = list(script)
        self.runs = 0
        self.cancelled = False
        self.settled = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self._script:
            if error := self._script.pop(0):
                raise error
            return
        self.settled.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@pytest.mark.parametrize(
    ("end", "told"),
    [(None, "ended"), (ValueError("a secret"), "ValueError"), (asyncio.CancelledError(), "CancelledError")],
)
async def test_a_loop_that_ends_begins_again(
    background: Background, clock: ManualClock, end: BaseException | None, told: str
) -> None:
    loop = Loop(end)

    background.start("reader", loop.run)
    await loop.settled.wait()

    seen = background.document()["reader"]
    assert (loop.runs, seen["state"], seen["restarts"], seen["last_error"]) == (2, "running", 1, told)
    assert seen["last_ended_at"].startswith("2026-01-01T00:00:00")


async def test_its_end_is_logged_with_the_reason(background: Background, caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop(ValueError("no such table"))

    with caplog.at_level(logging.ERROR):
        background.start("reader", loop.run)
        await loop.settled.wait()

    [record] = caplog.records
    assert "reader ended (ValueError: no such table)" in record.getMessage()
    assert record.exc_info


async def test_the_pause_grows_up_to_a_bound(background: Background, clock: ManualClock) -> None:
    loop = Loop(*[OSError()] * 12)

    background.start("reader", loop.run)
    await loop.settled.wait()

    assert clock.slept[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert clock.slept[-1] == LONGEST_PAUSE_SECONDS


async def test_after_a_good_while_the_pause_is_short_again(background: Background, clock: ManualClock) -> None:
    loop = Loop(*[OSError()] * 5)

    async def run() -> None:
        if loop.runs == 4:
            clock.move(seconds=HEALTHY_SECONDS)
        await loop.run()

    background.start("reader", run)
    await loop.settled.wait()

    assert clock.slept[-1] == FIRST_PAUSE_SECONDS


async def test_one_loop_s_failure_leaves_the_others_alone(background: Background) -> None:
    good, bad = Loop(), Loop(OSError())

    background.start("good", good.run)
    background.start("bad", bad.run)
    await bad.settled.wait()

    assert good.runs == 1
    assert background.document()["good"]["restarts"] == 0
    assert list(background.restarted()) == ["bad"]


async def test_stopping_ends_them_for_good(background: Background) -> None:
    loop = Loop()
    background.start("reader", loop.run)
    await loop.settled.wait()

    await background.stop()

    assert (loop.runs, loop.cancelled) == (1, True)
    assert background.document() == {}


async def test_it_can_be_stopped_while_it_waits_to_begin_again(caplog: pytest.LogCaptureFixture) -> None:
    class SlowClock(ManualClock):
        async def sleep(self, seconds: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

    waiting = asyncio.Event()
    background = Background(SlowClock())
    background.start("reader", Loop(OSError()).run)
    await waiting.wait()
    assert background.document()["reader"]["state"] == "restarting"

    await background.stop()

    assert background.document() == {}


async def test_a_failure_while_stopping_is_told(caplog: pytest.LogCaptureFixture, clock: ManualClock) -> None:
    background, settled = Background(clock), asyncio.Event()

    async def run() -> None:
        settled.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("can't close")

    background.start("reader", run)
    await settled.wait()
    await background.stop()

    assert "can't close" in caplog.text


async def test_a_name_is_taken_once(background: Background) -> None:
    background.start("reader", Loop().run)

    with pytest.raises(ConfigurationError, match="reader"):
        background.start("reader", Loop().run)
