"""Two gateways and two workers on PostgreSQL, with nothing shared but the databases and Prefect's server."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle

import httpx
import pytest
from platform_process import Parts, Sink, eventually, free_port, written_for
from postgres import answering_server, new_database, run_sql


@dataclass
class TwoOfEach:
    parts: Parts
    history: str
    """Its database."""
    gateways: dict[int, subprocess.Popen[bytes]]
    """By port."""
    workers: list[subprocess.Popen[bytes]]

    def post(self, port: int, n: int) -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{port}/hooks/to-sink",
            json={"n": n},
            headers={"idempotency-key": f"delivery-{n}"},
            timeout=60,
            trust_env=False,
        )

    def post_until_accepted(self, n: int) -> str:
        """As senders and load balancers do: what a gateway does not take is sent to the other one."""
        ports = cycle(self.gateways)

        def accepted() -> str | None:
            try:
                answer = self.post(next(ports), n)
            except httpx.TransportError:
                return None
            return answer.json()["execution_id"] if answer.status_code == 202 else None

        return eventually(accepted, 60, f"event {n} is accepted")


@pytest.fixture(scope="module")
def platform(shared_sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoOfEach]:
    root, server = tmp_path_factory.mktemp("two-of-each"), answering_server()
    with new_database(server) as history, new_database(server) as prefect:
        databases = {
            "IPAAS_DATABASE_URL": history,
            "PREFECT_API_DATABASE_CONNECTION_URL": prefect.replace("postgresql://", "postgresql+asyncpg://"),
        }
        parts = Parts(root / "home", written_for(shared_sink, root / "workflows"), databases)
        try:
            parts.start()
            other = free_port()
            gateways = {parts.port: parts.processes[-1], other: parts.start_gateway(other)}
            yield TwoOfEach(parts, history, gateways, [parts.start_worker(), parts.start_worker()])
        finally:
            parts.stop()


def test_an_event_sent_to_both_gateways_at_once_is_one_execution(platform: TwoOfEach, sink: Sink) -> None:
    sends = [(port, n) for n in range(100) for port in platform.gateways]
    with ThreadPoolExecutor(40) as senders:
        answers = list(senders.map(lambda one: platform.post(*one), sends))

    assert Counter((answer.status_code, answer.json()["status"]) for answer in answers) == {
        (202, "accepted"): 100,
        (202, "duplicate"): 100,
    }
    executions = {answer.json()["execution_id"] for answer in answers}
    assert len(executions) == 100
    ended = [platform.parts.ended(execution_id, 240) for execution_id in executions]
    assert {execution["status"] for execution in ended} == {"succeeded"}
    assert Counter(body["n"] for body in sink.bodies("/plain")) == dict.fromkeys(range(100), 1)


def test_a_workflows_limit_holds_over_both_workers(platform: TwoOfEach, sink: Sink) -> None:
    parts = platform.parts
    sent = [parts.send("three-steps", {"n": n}) for n in range(20)]
    eventually(lambda: len(sink.bodies("/slow")) == 10, 60, "ten run")
    eventually(lambda: len(owners(platform)) == 10, why="ten executions are under way")
    time.sleep(5)  # Prefect lets those that wait ask again every 2 s

    assert (len(sink.bodies("/slow")), sink.most_at_once) == (10, 10)
    sink.release.set()
    assert {parts.ended(execution_id, 90)["status"] for execution_id in sent} == {"succeeded"}
    assert sink.most_at_once <= 10


def test_a_killed_workers_executions_are_taken_over_by_the_other(platform: TwoOfEach, sink: Sink) -> None:
    parts = platform.parts
    slow = [parts.send("three-steps", {"n": n}) for n in range(8)]
    eventually(lambda: len(sink.bodies("/slow")) == 8, 60, "the slow steps run")

    [(owner, its), *_] = Counter(owners(platform)).most_common()
    [victim] = [worker for worker in platform.workers if f"/{worker.pid}." in owner]

    victim.kill()
    victim.wait()
    eventually(lambda: len(sink.bodies("/slow")) == 8 + its, 60, "the other one runs its steps in flight")
    sink.release.set()

    assert {parts.ended(execution_id, 90)["status"] for execution_id in slow} == {"succeeded"}
    assert Counter(body["n"] for body in sink.bodies("/before")) == dict.fromkeys(range(8), 1)
    assert Counter(body["n"] for body in sink.bodies("/after")) == dict.fromkeys(range(8), 1)
    platform.workers.remove(victim)
    platform.workers.append(parts.start_worker())


def test_gateways_restarted_one_after_the_other_lose_nothing(platform: TwoOfEach, sink: Sink) -> None:
    with ThreadPoolExecutor(8) as senders:
        sent = [senders.submit(platform.post_until_accepted, n) for n in range(1000, 1120)]
        for port, gateway in list(platform.gateways.items()):
            eventually(lambda: any(one.done() for one in sent), why="events arrive")
            gateway.terminate()
            gateway.wait(60)
            platform.gateways[port] = platform.parts.start_gateway(port)
        executions = [one.result() for one in sent]

    assert len(set(executions)) == 120
    assert {platform.parts.ended(one, 240)["status"] for one in executions} == {"succeeded"}
    assert Counter(body["n"] for body in sink.bodies("/plain")) == dict.fromkeys(range(1000, 1120), 1)


def owners(platform: TwoOfEach) -> list[str]:
    """The host and process of each execution of three-steps that is under way."""
    query = "SELECT owner FROM executions WHERE status = 'running' AND workflow = 'three-steps'"
    return [row["owner"] for row in run_sql(platform.history, query)]
