"""Reports as `make bench` makes them, for tests."""

from __future__ import annotations

from benchmarks.results import Latency, Report, Result, Round, Storm, Sustained


def storm(rate: float, *, refused: dict[str, int] | None = None, lost: int = 0) -> Storm:
    harness = {"load generator": 0.1, "receiver": 0.2}
    return Storm(100, 0.01, 0.1, rate, {"gateway": 1.0, "worker": 3.0}, harness, refused or {}, lost)


def a_round(*, rate: float = 100.0, idle: float = 0.005, answer: float | None = 0.01) -> Round:
    return Round(
        ready=2.0,
        first_effect=2.5,
        resting_memory={"gateway": 100.0, "worker": 150.0},
        resting_cpu={"gateway": 0.01},
        idle=Latency(idle, idle * 2, 20),
        one=storm(rate),
        three=storm(rate / 2),
        answer=Latency(answer, answer * 2, 20) if answer else None,
        loaded_memory={"gateway": 120.0, "worker": 160.0},
    )


def steady() -> Sustained:
    memory = [(0.0, {"gateway": 100.0}), (10.0, {"gateway": 130.0})]
    return Sustained(70.0, 10.0, [(1.0, 0.005, 0.02), (5.0, 0.006, 0.02), (9.0, 0.012, 0.05)], memory, {}, 0)


def result(key: str, *rounds: Round, unavailable: str | None = None, store: str = "SQLite") -> Result:
    return Result(key, key.title(), "1.0", store, list(rounds), steady() if rounds else None, unavailable)


def report(*results: Result) -> Report:
    return Report("2 cores", 2, "2026-01-01", list(results), [("rendering", "4 µs", "Jinja2 20 µs", "5×")])
