"""One run of a workflow in a unit test, against a flow of one task in Prefect's own test harness."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from time import perf_counter

from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness

from flows.testing import Bench
from flows.testing.programs import Programs
from flows.testing.virtual_time import VirtualTime

ASK = """
name: ask
steps: [{id: ask, uses: http.request, with: {url: "https://stock.example/items/{{ event.body }}"}}]
output: "{{ steps.ask.output.body.left }}"
"""
RUNS = 300
PEER_RUNS = 10


@task
def ask() -> int:
    return 3


@flow
def asking() -> int:
    return ask()


def measure() -> Iterator[tuple[str, str, str, str]]:
    ours, peer = _ours(), _peer()
    yield (
        "a workflow's unit test, one request, median",
        f"{ours * 1e3:.1f} ms",
        f"a flow in Prefect's test harness {peer * 1e3:.0f} ms",
        f"{peer / ours:.0f}×",
    )


def _ours() -> float:
    taken = []
    with VirtualTime() as time:
        for _ in range(RUNS):
            started = perf_counter()
            bench = Bench(time, Programs())
            bench.http.get("https://stock.example/items/5").respond(json={"left": 3})
            assert bench.run(ASK, 5).output == 3
            taken.append(perf_counter() - started)
    return median(taken)


def _peer() -> float:
    taken = []
    with prefect_test_harness():
        asking()
        for _ in range(PEER_RUNS):
            started = perf_counter()
            assert asking() == 3
            taken.append(perf_counter() - started)
    return median(taken)
