"""What was measured, as it is kept in results.json. Times are in seconds, memory in MiB, CPU by process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter


@dataclass
class Latency:
    p50: float
    p90: float
    samples: int


@dataclass
class Storm:
    """Many events over 100 connections, until all effects have arrived."""

    events: int
    accept_p50: float
    accept_p99: float
    rate: float
    """Runs a second, from the first event sent to the last effect."""
    cpu_ms: dict[str, float]
    """CPU milliseconds a run, less what is spent at rest; what is done after the effect counts, too."""
    harness_cpu_ms: dict[str, float]
    """The same of the load generator and the receiver."""
    refused: dict[str, int]
    """Tries that got no 2xx, by what they got; each was sent again."""
    lost: int
    """Accepted, but no effect arrived in time."""


@dataclass
class Round:
    ready: float
    """From the command to the first event that is accepted."""
    first_effect: float
    """From the command to the first effect."""
    resting_memory: dict[str, float]
    resting_cpu: dict[str, float]
    """CPU seconds a second."""
    idle: Latency
    """From the POST to the effect, one at a time."""
    one: Storm
    three: Storm
    answer: Latency | None
    """From the POST to an answer that is given when the run has ended; None where there is no such thing."""
    loaded_memory: dict[str, float]
    """After the storms."""


@dataclass
class Sustained:
    """Events at a steady rate, below what the storm reached."""

    rate: float
    seconds: float
    lag: list[tuple[float, float, float]]
    """Seconds since the beginning, and p50 and p99 of the time from when an event was due to its effect."""
    memory: list[tuple[float, dict[str, float]]]
    refused: dict[str, int]
    lost: int


@dataclass
class Result:
    """One contestant. `unavailable` says why it could not take part, or not to the end."""

    key: str
    title: str
    version: str
    store: str
    rounds: list[Round] = field(default_factory=list)
    sustained: Sustained | None = None
    unavailable: str | None = None


@dataclass
class Report:
    machine: str
    cores: int
    when: str
    results: list[Result]
    small: list[tuple[str, str, str, str]]
    """The benchmarks of single parts: what, here, peer, ratio."""

    def of(self, key: str) -> Result | None:
        """The contestant's result, if anything was measured."""
        return next((one for one in self.results if one.key == key and one.rounds), None)

    def save(self, path: Path) -> None:
        path.write_bytes(_ADAPTER.dump_json(self, indent=1))

    @staticmethod
    def load(path: Path) -> Report:
        return _ADAPTER.validate_json(path.read_bytes())


_ADAPTER = TypeAdapter(Report)


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and how far they are apart."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
