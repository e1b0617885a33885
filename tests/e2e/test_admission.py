"""What may run is the history's to say: over several workers, with Prefect away, with things deleted in Prefect."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from platform_process import Parts, Sink, eventually

from flows.history import NewExecution, Trigger, open_store
from foundation.ids import new_id

POST = (
    "{{id: {id}, uses: http.request,"
    ' with: {{method: POST, url: "http://sink/{path}", json: "{{{{ event.body }}}}", timeout: 300}}}}'
)
WORKFLOWS = {
    "many": f"triggers: [{{webhook: {{auth: none}}}}]\nsteps: [{POST.format(id='a', path='a')}]",
    "few": f"triggers: [{{webhook: {{auth: none}}}}]\nsteps: [{POST.format(id='b', path='b')}]",
    "two": f"triggers: [{{webhook: {{auth: none}}}}]\nconcurrency: 2\nsteps: [{POST.format(id='slow', path='slow')}]",
    "only": (
        "triggers: [{webhook: {auth: none}}]\nconcurrency: {limit: 1, overflow: cancel}\n"
        f"steps: [{POST.format(id='slow', path='slow')}]"
    ),
}


@pytest.fixture(scope="module")
def sinks() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


@pytest.fixture(scope="module")
def parts(sinks: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    root = tmp_path_factory.mktemp("admission")
    (root / "workflows").mkdir()
    for name, text in WORKFLOWS.items():
        source = f"name: {name}\n{text}\n".replace("http://sink", sinks.url)
        (root / "workflows" / f"{name}.yaml").write_text(source)
    parts = Parts(root / "home", root / "workflows")
    try:
        yield parts.start()
    finally:
        parts.stop()


@pytest.fixture
def sink(sinks: Sink) -> Sink:
    sinks.clear()
    return sinks


@pytest.fixture
def worker(parts: Parts) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts workers, which are gone after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        started.append(parts.start_worker("ipaas", "worker", *options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def accept(parts: Parts, workflow: str, count: int, first: int = 0) -> list[str]:
    """So many events at once, as if a gateway had accepted them."""
    version = parts.get(f"/api/workflows/{workflow}").json()["version"]
    new = [
        NewExecution(
            id=new_id(),
            workflow=workflow,
            version=version,
            trigger=Trigger.WEBHOOK,
            event={"id": new_id(), "body": {"n": first + n}, "headers": {}, "query": {}},
            accepted_at=datetime.now(UTC),
        )
        for n in range(count)
    ]

    async def store_all() -> None:
        store = open_store(f"sqlite:///{parts.home / 'ipaas.db'}")
        await store.open()
        for start in range(0, count, 200):
            await store.accept(new[start : start + 200])
        await store.close()

    asyncio.run(store_all())
    return [one.id for one in new]


def before_the_first(sink: Sink, path: str) -> int:
    """How many other requests came before the first one to this path."""
    paths = [request.path for request in list(sink.received)]
    return paths.index(path)


def agreed(parts: Parts, executions: list[str]) -> bool:
    """Prefect says of each execution what the history says."""
    names = {"succeeded": "COMPLETED", "cancelled": "CANCELLED", "failed": "FAILED"}
    for execution in map(parts.execution, executions):
        if execution["status"] not in names:
            return False
        if execution["flow_run_id"]:
            try:
                run = parts.flow_run(execution["flow_run_id"])
            except httpx.HTTPStatusError:
                return False
            if run["state_type"] != names[execution["status"]]:
                return False
    return True


def test_a_limit_holds_over_two_workers_while_prefect_is_away_and_back(
    parts: Parts, sink: Sink, worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    worker()
    worker()
    sent = [parts.send("two", {"n": n}) for n in range(8)]
    eventually(lambda: sink.at_once == 2, 60, "two run")

    [server] = [one for one in parts.processes if one.poll() is None and "server" in one.args]  # type: ignore[operator]
    server.kill()
    server.wait()
    sent += [parts.send("two", {"n": n}) for n in range(8, 12)]
    time.sleep(35)  # longer than any lease
    parts.start_server()
    sink.seconds = 0.2
    sink.release.set()

    assert {parts.ended(one, 180)["status"] for one in sent} == {"succeeded"}
    assert sink.most_at_once == 2
    assert Counter(body["n"] for body in sink.bodies("/slow")) == dict.fromkeys(range(12), 1)
    eventually(lambda: agreed(parts, sent), 60, "Prefect agrees")


def test_beyond_its_limit_a_workflow_that_says_so_cancels(
    parts: Parts, sink: Sink, worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    worker()
    first = parts.send("only", {"n": 0})
    eventually(lambda: sink.at_once == 1, 60, "one runs")

    beyond = [parts.ended(parts.send("only", {"n": n}), 30) for n in (1, 2)]
    sink.release.set()

    message = "cancelled: the workflow's limit of 1 executions at once was reached"
    assert [(one["status"], one["error"]["message"]) for one in beyond] == [("cancelled", message)] * 2
    assert parts.ended(first)["status"] == "succeeded"
    assert len(sink.bodies("/slow")) == 1


def test_runs_that_people_start_in_prefect_are_counted_and_cancelled_as_all_others(
    parts: Parts, sink: Sink, worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    worker()
    deployment = parts.deployment("only")["id"]
    quick = [
        parts.prefect("POST", f"/deployments/{deployment}/create_flow_run", json={"parameters": {"event": {"body": n}}})
        for n in range(3)
    ]

    def states() -> Counter[str]:
        return Counter(parts.flow_run(run["id"])["state_type"] for run in quick)

    eventually(lambda: states() == {"RUNNING": 1, "CANCELLED": 2}, 60, "one runs, two are cancelled")
    sink.release.set()
    eventually(lambda: states() == {"COMPLETED": 1, "CANCELLED": 2}, 60, "it ends")
    assert len(sink.bodies("/slow")) == 1


def delete_run(parts: Parts, execution: dict[str, Any]) -> None:
    parts.prefect("DELETE", f"/flow_runs/{execution['flow_run_id']}")


def delete_deployment(parts: Parts, execution: dict[str, Any]) -> None:
    parts.prefect("DELETE", f"/deployments/{parts.deployment('two')['id']}")


def delete_pool(parts: Parts, execution: dict[str, Any]) -> None:
    parts.prefect("DELETE", "/work_pools/ipaas")


def delete_flow(parts: Parts, execution: dict[str, Any]) -> None:
    parts.prefect("DELETE", f"/flows/{parts.deployment('two')['flow_id']}")


@pytest.mark.parametrize("delete", [delete_run, delete_deployment, delete_pool, delete_flow])
def test_whatever_is_deleted_in_prefect_nothing_is_stranded(
    parts: Parts,
    sink: Sink,
    worker: Callable[..., subprocess.Popen[bytes]],
    delete: Callable[[Parts, dict[str, Any]], None],
) -> None:
    """Two wait in Prefect, with no worker there; two more wait in the history."""
    waiting = accept(parts, "two", 4)
    eventually(lambda: len([one for one in waiting if parts.execution(one)["flow_run_id"]]) == 2, 30, "two are there")

    delete(parts, next(one for one in map(parts.execution, waiting) if one["flow_run_id"]))
    worker()
    sink.release.set()

    assert {parts.ended(one, 120)["status"] for one in waiting} == {"succeeded"}
    assert Counter(body["n"] for body in sink.bodies("/slow")) == dict.fromkeys(range(4), 1)
    eventually(lambda: agreed(parts, waiting), 60, "Prefect agrees")
    after = parts.send("two", {"n": 9})
    assert parts.ended(after, 60)["status"] == "succeeded"


def test_what_prefect_was_restored_without_runs_all_the_same(
    parts: Parts, sink: Sink, worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Its database is yesterday's: none of today's runs, and deployments that are gone."""
    waiting = accept(parts, "two", 3)
    eventually(lambda: any(parts.execution(one)["flow_run_id"] for one in waiting), 30, "some are there")
    [server] = [one for one in parts.processes if one.poll() is None and "server" in one.args]  # type: ignore[operator]
    server.send_signal(signal.SIGKILL)
    server.wait()
    for file in parts.home.glob("prefect.db*"):
        file.unlink()

    parts.start_server()
    worker()
    sink.release.set()

    assert {parts.ended(one, 180)["status"] for one in waiting} == {"succeeded"}
    eventually(lambda: agreed(parts, waiting), 60, "Prefect agrees")


def test_the_first_of_one_workflow_does_not_wait_behind_thousands_of_another(
    parts: Parts, sink: Sink, worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    accept(parts, "many", 2_000)  # the last test here: they go on waiting
    [first] = accept(parts, "few", 1)
    few = worker("--limit", "2")

    parts.ended(first, 120)
    assert before_the_first(sink, "/b") <= 20
    assert sink.most_at_once <= 2

    few.kill()  # after a restart no worker knows who has waited
    few.wait()
    sink.clear()
    [second] = accept(parts, "few", 1)
    worker("--limit", "2")

    parts.ended(second, 120)
    assert before_the_first(sink, "/b") <= 20
    assert parts.executions(workflow="many", status="accepted", limit=1), "they still wait"
