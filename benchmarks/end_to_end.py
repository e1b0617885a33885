"""From POST to the effect: this platform, against a flow that does the same on a stock Prefect process worker."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.platform_process import Platform, Sink, eventually

SAMPLES, PEER_SAMPLES, STORM = 20, 5, 100

WORKFLOW = """
name: to-sink
triggers: [{{webhook: {{auth: none}}}}]
steps:
  - {{id: post, uses: http.request, with: {{method: POST, url: "{url}/ours", json: {{n: "{{{{ event.body.n }}}}"}}}}}}
"""
PEER = """
import httpx
from prefect import flow, task

@task
def post(n: int) -> None:
    httpx.post("{url}/peer", json={{"n": n}})

@flow
def peer(n: int) -> None:
    post(n)
"""
DEPLOY = """
from prefect import flow
peer = flow.from_source("{folder}", "peer.py:peer")
peer.deploy("peer", work_pool_name="stock", build=False, push=False, print_next_steps=False)
"""


def measure(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    sink = Sink()
    workflows = folder / "workflows"
    workflows.mkdir()
    (workflows / "to-sink.yaml").write_text(WORKFLOW.format(url=sink.url))
    platform = Platform(folder / "home", workflows)
    try:
        platform.start()
        ours = statistics.median(_latencies(SAMPLES, "/ours", sink, lambda n: platform.send("to-sink", {"n": n})))
        rate = _storm(platform, sink)
        peer = statistics.median(_of_stock_prefect(folder, platform, sink))
    finally:
        platform.stop()
        sink.close()
    yield (
        "POST to effect, idle, median",
        f"{ours * 1e3:.0f} ms",
        f"stock process worker {peer:.1f} s",
        f"{peer / ours:.0f}×",
    )
    yield f"{STORM} events at once, all effects", f"{rate:.1f} runs/s", "–", "–"


def _latencies(count: int, path: str, sink: Sink, fire: Callable[[int], Any]) -> list[float]:
    """Seconds from firing to the request that reaches the sink."""
    taken = []
    for n in range(count):
        sink.received.clear()
        started = time.monotonic()
        fire(n)
        arrived = eventually(lambda: [one.at for one in sink.received if one.path == path], 120, "the effect")
        taken.append(arrived[0] - started)
        time.sleep(0.5)
    return taken


def _storm(platform: Platform, sink: Sink) -> float:
    sink.received.clear()
    started = time.monotonic()
    with ThreadPoolExecutor(50) as senders:
        list(senders.map(lambda n: platform.send("to-sink", {"n": n}), range(STORM)))
    eventually(lambda: len(sink.received) >= STORM, 300, "all effects")
    return STORM / (time.monotonic() - started)


def _of_stock_prefect(folder: Path, platform: Platform, sink: Sink) -> list[float]:
    (folder / "peer.py").write_text(PEER.format(url=sink.url))
    environment = {**os.environ, "PREFECT_API_URL": platform.prefect_api, "PREFECT_HOME": str(folder / "stock")}
    prefect = [sys.executable, "-m", "prefect"]
    quiet: dict[str, Any] = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*prefect, "work-pool", "create", "stock", "--type", "process"], check=True, **quiet)
    subprocess.run([sys.executable, "-c", DEPLOY.format(folder=folder)], check=True, **quiet)
    deployment = platform.prefect("GET", "/deployments/name/peer/peer")["id"]
    worker = subprocess.Popen([*prefect, "worker", "start", "--pool", "stock"], **quiet)
    try:
        create = f"/deployments/{deployment}/create_flow_run"
        return _latencies(
            PEER_SAMPLES, "/peer", sink, lambda n: platform.prefect("POST", create, json={"parameters": {"n": n}})
        )
    finally:
        worker.terminate()
        worker.wait(30)
