"""The benchmark's load generator and receiver, as the processes they are. The receiver stands for what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from platform_process import free_port

from benchmarks import load
from benchmarks.load import Job, Target
from benchmarks.receiver import Receiver, receiving


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def job(receiver: Receiver, kind: Any, count: int, **how: float) -> Job:
    """Each event is its own effect."""
    target = Target(receiver.port, "/one/1", '{"of": "a test", "n": {n}}')
    return Job(kind, target, receiver.port, "/one/1", first=100, count=count, **how)


@pytest.mark.parametrize(
    ("kind", "how"),
    [("storm", {}), ("sustained", {"rate": 200.0}), ("idle", {"pause": 0.0}), ("answered", {"pause": 0.0})],
)
def test_every_event_is_sent_answered_and_has_its_effect(receiver: Receiver, kind: str, how: dict[str, float]) -> None:
    outcome = load.run(job(receiver, kind, 150, **how))
    everyone = set(range(100, 250))
    assert (set(outcome.sent), set(outcome.answered), set(outcome.arrived)) == (everyone, everyone, everyone)
    assert all(outcome.sent[n] <= outcome.arrived[n] <= outcome.answered[n] for n in everyone)
    assert (outcome.refused, outcome.cpu_seconds > 0) == ({}, True)


def test_an_event_that_nobody_takes_is_sent_again_and_told(receiver: Receiver) -> None:
    nobody = Job("storm", Target(free_port(), "/"), receiver.port, "/one/1", first=1, count=1, patience=1.0)
    outcome = load.run(nobody)
    assert (set(outcome.sent), outcome.answered) == ({1}, {})
    assert outcome.refused["ConnectionRefusedError"] > 1
