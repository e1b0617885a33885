"""Workers that stand still, and a database that does: whoever takes over, no two of them write, and nothing finished is
done again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from platform_process import Parts, Sink, eventually
from postgres import answering_server, new_database, run_sql

STEP = (
    '{{id: {name}, uses: http.request, with: {{method: POST, url: "http://sink/{name}",'
    ' json: {{n: "{{{{ event.body.n }}}}"}}, timeout: 300}}}}'
)
WORKFLOW = "\n".join(
    [
        "name: three",
        "triggers: [{webhook: {auth: none}}]",
        "steps:",
        *(f"  - {STEP.format(name=name)}" for name in ("before", "slow", "after")),
    ]
)
IN_FLIGHT = 6
PAUSE_SECONDS = 75
"""Longer than a lease and the time that the other one must have been well: it takes over."""
LOCK_SECONDS = 45
"""Longer than a lease."""


@dataclass
class Two:
    """Two workers with six executions in flight, each in its slow step."""

    parts: Parts
    history: str
    workers: list[subprocess.Popen[bytes]]
    executions: list[str]

    def records(self) -> list[dict[str, Any]]:
        return [self.parts.execution(execution_id) for execution_id in self.executions]

    def owned_by(self, worker: subprocess.Popen[bytes]) -> int:
        query = "SELECT owner FROM executions WHERE status = 'running'"
        return sum(f"/{worker.pid}." in row["owner"] for row in run_sql(self.history, query))

    def statuses(self) -> set[str]:
        return {self.parts.ended(execution_id, 240)["status"] for execution_id in self.executions}


@pytest.fixture
def two(sink: Sink, tmp_path: Any) -> Iterator[Two]:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "three.yaml").write_text(WORKFLOW.replace("http://sink", sink.url))
    server = answering_server()
    with new_database(server) as history, new_database(server) as prefect:
        databases = {
            "IPAAS_DATABASE_URL": history,
            "PREFECT_API_DATABASE_CONNECTION_URL": prefect.replace("postgresql://", "postgresql+asyncpg://"),
        }
        parts = Parts(tmp_path / "home", tmp_path / "workflows", databases)
        try:
            parts.start()
            workers = [parts.start_worker(*("ipaas", "worker", "--limit", str(IN_FLIGHT // 2))) for _ in range(2)]
            executions = [parts.send("three", {"n": n}) for n in range(IN_FLIGHT)]
            eventually(lambda: len(sink.bodies("/slow")) == IN_FLIGHT, 120, "six are in flight")
            two = Two(parts, history, workers, executions)
            assert [two.owned_by(worker) for worker in workers] == [IN_FLIGHT // 2] * 2
            yield two
        finally:
            sink.release.set()
            parts.stop()


def test_a_worker_that_was_stopped_overwrites_nothing_when_it_goes_on(two: Two, sink: Sink) -> None:
    stopped, _other = two.workers
    stopped.send_signal(signal.SIGSTOP)
    try:
        time.sleep(PAUSE_SECONDS)
        eventually(lambda: two.owned_by(stopped) == 0, 60, "the other one has taken over what it ran")
        sink.release.set()
        assert two.statuses() == {"succeeded"}
        ended = two.records()
    finally:
        stopped.send_signal(signal.SIGCONT)
    time.sleep(10)  # it gets the answers that it waited for

    assert two.records() == ended
    for path, most in (("/before", 1), ("/slow", 2), ("/after", 1)):
        counts = Counter(body["n"] for body in sink.bodies(path))
        assert set(counts) == set(range(IN_FLIGHT))
        assert max(counts.values()) <= most, path
    assert [execution["steps"][1]["attempts"] for execution in ended] == [1] * IN_FLIGHT
    again = two.parts.send("three", {"n": 100})
    assert two.parts.ended(again, 60)["status"] == "succeeded"


def test_a_short_stop_changes_nothing(two: Two, sink: Sink) -> None:
    two.workers[0].send_signal(signal.SIGSTOP)
    time.sleep(15)
    two.workers[0].send_signal(signal.SIGCONT)
    sink.release.set()

    assert two.statuses() == {"succeeded"}
    for path in ("/before", "/slow", "/after"):
        assert Counter(body["n"] for body in sink.bodies(path)) == dict.fromkeys(range(IN_FLIGHT), 1)


def test_while_the_database_stands_still_nobody_is_taken_for_dead(two: Two, sink: Sink) -> None:
    with locked(two.history, "executions"):
        time.sleep(LOCK_SECONDS)
    time.sleep(10)  # whoever judged by the leases alone would have taken over by now
    sink.release.set()

    assert two.statuses() == {"succeeded"}
    for path in ("/before", "/slow", "/after"):
        assert Counter(body["n"] for body in sink.bodies(path)) == dict.fromkeys(range(IN_FLIGHT), 1)


@contextmanager
def locked(database: str, table: str) -> Iterator[None]:
    """Nobody else reads or writes the table."""
    locked, release = threading.Event(), threading.Event()

    async def lock() -> None:
        connection = await asyncpg.connect(database)
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            locked.set()
            await asyncio.to_thread(release.wait)
        await connection.close()

    holder = threading.Thread(target=lambda: asyncio.run(lock()))
    holder.start()
    try:
        assert locked.wait(30)
        yield
    finally:
        release.set()
        holder.join()
