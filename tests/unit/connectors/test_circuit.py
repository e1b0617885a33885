"""A system that keeps failing is left alone for a minute, then asked once."""

from __future__ import annotations

import asyncio

import pytest

from connectors.kit.circuit import Circuits
from foundation.clock import ManualClock
from foundation.errors import ActionError, CircuitOpen, ConnectionFailed, RemoteError, StepTimeout


class Shop:
    """A guarded system; `visit` is one request to it."""

    def __init__(self) -> None:
        self.clock, self.circuits = ManualClock(), Circuits()

    def visit(self, outcome: BaseException | None = None, key: str = "shop") -> None:
        with self.circuits.passing(key, name="shop.example", clock=self.clock):
            if outcome:
                raise outcome

    def fail(self, times: int, outcome: Exception | None = None, key: str = "shop") -> None:
        for _ in range(times):
            error = outcome or ConnectionFailed("down")
            with pytest.raises(type(error)):
                self.visit(error, key)


@pytest.mark.parametrize("failure", [ConnectionFailed("down"), StepTimeout("late"), RemoteError("oops", status=500)])
def test_five_failures_in_a_row_open_it(failure) -> None:
    shop = Shop()
    shop.fail(5, failure)
    with pytest.raises(CircuitOpen, match=r"shop\.example failed 5 times in a row") as error:
        shop.visit()
    assert error.value.retriable
    assert error.value.retry_after == 60


@pytest.mark.parametrize("alive", [RemoteError("no", status=404), RemoteError("slow", status=429), ActionError("bug")])
def test_an_answer_that_shows_life_begins_the_count_anew(alive) -> None:
    shop = Shop()
    shop.fail(4)
    with pytest.raises(ActionError):
        shop.visit(alive)
    shop.fail(4)
    shop.visit()


def test_other_keys_are_not_affected() -> None:
    shop = Shop()
    shop.fail(5)
    shop.visit(key="other")


def test_after_a_minute_a_successful_probe_closes_it() -> None:
    shop = Shop()
    shop.fail(5)
    shop.clock.move(seconds=60)
    shop.visit()
    shop.fail(4)
    shop.visit()


def test_a_failed_probe_opens_it_for_another_minute() -> None:
    shop = Shop()
    shop.fail(5)
    shop.clock.move(seconds=60)
    shop.fail(1)
    shop.clock.move(seconds=59)
    with pytest.raises(CircuitOpen):
        shop.visit()
    shop.clock.move(seconds=1)
    shop.visit()


def test_only_one_call_probes() -> None:
    shop = Shop()
    shop.fail(5)
    shop.clock.move(seconds=60)
    with shop.circuits.passing("shop", name="shop.example", clock=shop.clock), pytest.raises(CircuitOpen):
        shop.visit()
    shop.visit()


def test_a_cancelled_probe_leaves_the_next_call_to_probe() -> None:
    shop = Shop()
    shop.fail(5)
    shop.clock.move(seconds=60)
    with pytest.raises(asyncio.CancelledError):
        shop.visit(asyncio.CancelledError())
    shop.visit()
