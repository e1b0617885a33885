"""What stays as it is is looked at less and less often, but never given up."""

from __future__ import annotations

import pytest

from ipaas.worker.patience import Patience


class Elapsed:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def elapsed() -> Elapsed:
    return Elapsed()


@pytest.fixture
def patience(elapsed: Elapsed) -> Patience:
    return Patience(elapsed, first=5, longest=15)


def test_the_pauses_double_up_to_the_longest(patience: Patience, elapsed: Elapsed) -> None:
    pauses = []
    for _ in range(4):
        began = elapsed.seconds
        patience.wait("x")
        while not patience.is_over("x"):
            elapsed.seconds += 1
        pauses.append(elapsed.seconds - began)

    assert pauses == [5, 10, 15, 15]


def test_only_the_first_time_is_news(patience: Patience) -> None:
    assert [patience.wait("x"), patience.wait("x"), patience.wait("y")] == [True, False, True]


def test_what_changed_is_looked_at_at_once(patience: Patience) -> None:
    patience.wait("x")
    patience.end("x")

    assert patience.is_over("x")
    assert patience.wait("x") is True


def test_what_did_not_come_up_for_long_is_forgotten(patience: Patience, elapsed: Elapsed) -> None:
    patience.wait("x")
    elapsed.seconds += 31
    patience.wait("y")

    assert patience.wait("x") is True
