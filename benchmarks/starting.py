"""From `ipaas up` in a new home to a ready platform, and what memory it takes; against as many processes of Prefect's.

Memory is what the kernel counts as a process's share (`Pss` in /proc/PID/smaps_rollup): a page that four processes
share counts a quarter for each, so that the sum is what would be free without them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.platform_process import Platform, Sink, eventually, written_for

STORM = 300
PEERS = ("prefect.server.api.server", "prefect.client.orchestration", "prefect.client.orchestration")
"""What Prefect's server, a gateway and a worker would import of Prefect alone, each for itself."""


def measure(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    sink = Sink()
    sink.release.set()
    platform = Platform(folder / "starting", written_for(sink, folder / "starting-workflows"))
    try:
        started = time.monotonic()
        platform.start()
        cold = time.monotonic() - started
        idle, resident = _memory(platform)
        _run(platform, STORM)
        after, _ = _memory(platform)
        _run(platform, STORM)
        later, _ = _memory(platform)
        platform.stop()
        started = time.monotonic()
        platform.start()
        again = time.monotonic() - started
    finally:
        platform.stop()
        sink.close()
    peer = _peer()
    yield "start in a new home, until /readyz", f"{cold:.1f} s (in a used one {again:.1f} s)", "–", "–"
    yield (
        "memory of the whole platform, idle",
        f"{idle:.0f} MB (resident sets {resident:.0f} MB)",
        f"Prefect's server and two clients, only imported, {peer:.0f} MB",
        f"{peer / idle:.1f}×",
    )
    yield f"the same after {STORM} and {2 * STORM} executions", f"{after:.0f} MB, {later:.0f} MB", "–", "–"


def _run(platform: Platform, count: int) -> None:
    last = [platform.send("to-sink", {"n": n}) for n in range(count)][-1]
    platform.ended(last, 600)
    eventually(lambda: not platform.executions(status="accepted"), 600, "everything has begun")
    eventually(lambda: not platform.executions(status="running"), 600, "everything has ended")


def _memory(platform: Platform) -> tuple[float, float]:
    """Shares and resident sets of all processes, in MB."""
    time.sleep(5)
    assert platform.process
    root = psutil.Process(platform.process.pid)
    return _sum([root, *root.children(recursive=True)])


def _peer() -> float:
    code = "import {}, time; print(flush=True); time.sleep(600)"
    processes = [psutil.Popen([sys.executable, "-c", code.format(module)], stdout=-1) for module in PEERS]
    try:
        for process in processes:
            process.stdout.readline()
        return _sum(processes)[0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _sum(processes: list[psutil.Process]) -> tuple[float, float]:
    found = [process.memory_full_info() for process in processes]
    return sum(one.pss for one in found) / 1e6, sum(one.rss for one in found) / 1e6
