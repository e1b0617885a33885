"""Prefect's own tools on our workflows: `prefect deploy`, `prefect worker start`, a stock process worker."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_process import Parts, Sink, eventually, written_for

ROOT = Path(__file__).parents[2]
PROCESSES = "processes"


@pytest.fixture(scope="module")
def parts(shared_sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A platform without a worker, on which `prefect deploy --all` has run before anything else did."""
    root = tmp_path_factory.mktemp("parts")
    often = {"PREFECT_WORKER_QUERY_SECONDS": "2"}  # a stock worker polls
    parts = Parts(root / "home", written_for(shared_sink, root / "workflows"), often)
    three_steps = parts.workflows / "three-steps.yaml"
    (parts.workflows / "drained.yaml").write_text(three_steps.read_text().replace("three-steps", "drained"))
    try:
        parts.start_server()
        parts.command("db", "upgrade")
        prefect(parts, "--no-prompt", "deploy", "--all")
        parts.command("deploy", str(parts.workflows))
        parts.start_gateway(parts.port)
        yield parts
    finally:
        parts.stop()


@pytest.fixture
def ipaas_worker(parts: Parts) -> Iterator[subprocess.Popen[bytes]]:
    """The platform's worker, started with Prefect's command."""
    worker = parts.start_worker("prefect", "worker", "start", "--type", "ipaas", "--pool", "ipaas")
    yield worker
    worker.terminate()
    worker.wait(60)


@pytest.fixture(scope="module")
def process_worker(parts: Parts) -> Iterator[subprocess.Popen[bytes]]:
    """A stock worker that starts a process for each run; some test workflows are moved to it."""
    prefect(parts, "work-pool", "create", PROCESSES, "--type", "process")
    for workflow in ("three-steps", "in-python", "short-timeout", "to-sink"):
        move_to_processes(parts, workflow)
    worker = parts.start_worker("prefect", "worker", "start", "--type", "process", "--pool", PROCESSES)
    yield worker
    worker.terminate()
    worker.wait(60)


def test_prefect_deploy_makes_the_shipped_deployments(parts: Parts) -> None:
    deployments = {name: parts.deployment(name) for name in ("hello", "order-confirmed", "weather-watch")}

    for name, deployment in deployments.items():
        assert deployment["version"] == parts.get(f"/api/workflows/{name}").json()["version"]
        assert deployment["global_concurrency_limit"]["limit"] == 10
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert deployment["work_pool_name"] == "ipaas"
    assert deployments["order-confirmed"]["tags"] == ["example", "sales"]
    assert deployments["order-confirmed"]["description"] == "Tells the team on Slack about every order over 10."
    [schedule] = deployments["weather-watch"]["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 * * * *", "Europe/Berlin")


@pytest.mark.usefixtures("ipaas_worker")
def test_what_prefect_deployed_answers_webhooks_and_quick_runs(parts: Parts) -> None:
    answer = parts.post("/hooks/hello", json={"name": "Ada"})
    assert (answer.status_code, answer.json()) == (200, {"message": "Hello Ada!"})
    deployment = parts.deployment("hello")
    assert deployment["entrypoint"] == "flows.catalog.hello", "the hook uses the deployment that is there"

    parameters = {"event": {"body": {"name": "Grace"}}}
    run = parts.prefect("POST", f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": parameters})
    execution = eventually(lambda: of_flow_run(parts, run["id"]), why="it is in the history")
    assert parts.ended(execution["id"])["output"] == {"message": "Hello Grace!"}


def test_prefects_worker_command_drains_as_ours_does(
    parts: Parts, sink: Sink, ipaas_worker: subprocess.Popen[bytes]
) -> None:
    execution_id = parts.send("drained", {"n": 1})
    eventually(lambda: sink.bodies("/slow"), why="the slow step runs")

    ipaas_worker.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        ipaas_worker.wait(3)
    sink.release.set()
    ipaas_worker.wait(30)

    execution = parts.execution(execution_id)
    assert execution["status"] == "succeeded"
    assert len(sink.bodies("/slow")) == 1


@pytest.mark.usefixtures("process_worker")
@pytest.mark.parametrize("hook", ["three-steps", "in-python"])
def test_a_stock_worker_runs_it_with_its_steps_recorded(parts: Parts, sink: Sink, hook: str) -> None:
    sink.release.set()
    execution = parts.ended(parts.send(hook, {"n": 4}), 90)

    assert (execution["status"], execution["output"]) == ("succeeded", {"n": 4})
    assert [step["status"] for step in execution["steps"]] == ["succeeded"] * 3
    assert [len(sink.bodies(path)) for path in ("/before", "/slow", "/after")] == [1, 1, 1]
    run = execution["flow_run_id"]
    eventually(lambda: in_state(parts, run, "COMPLETED"), why="Prefect has the end")
    query = {"flow_runs": {"id": {"any_": [run]}}}
    eventually(lambda: len(parts.prefect("POST", "/task_runs/filter", json=query)) == 3, why="steps are tasks")


@pytest.mark.usefixtures("process_worker")
def test_a_stock_worker_runs_the_version_that_was_current_when_the_event_came(parts: Parts, sink: Sink) -> None:
    file = parts.workflows / "to-sink.yaml"
    old = file.read_text()
    parts.prefect("PATCH", f"/work_pools/{PROCESSES}", json={"is_paused": True})
    execution_id = parts.send("to-sink", {"n": 1})
    eventually(lambda: parts.execution(execution_id)["flow_run_id"], why="Prefect has it")
    file.write_text(old.replace("/plain", "/changed"))
    parts.command("deploy", str(file))
    parts.prefect("PATCH", f"/work_pools/{PROCESSES}", json={"is_paused": False})

    execution = parts.ended(execution_id, 90)
    assert execution["status"] == "succeeded"
    assert (len(sink.bodies("/plain")), len(sink.bodies("/changed"))) == (1, 0)


@pytest.mark.usefixtures("process_worker")
def test_a_stock_workers_execution_does_not_outlive_its_timeout(parts: Parts) -> None:
    execution = parts.ended(parts.send("short-timeout", {}), 90)

    assert execution["status"] == "timed_out"
    run = eventually(lambda: in_state(parts, execution["flow_run_id"], "FAILED"), why="Prefect knows")
    assert run["state"]["name"] == "TimedOut"


@pytest.mark.usefixtures("process_worker")
@pytest.mark.parametrize("through", ["Prefect", "the API"])
def test_a_stock_workers_execution_is_cancelled(parts: Parts, sink: Sink, through: str) -> None:
    execution_id = parts.send("three-steps", {"n": 1})
    eventually(lambda: sink.bodies("/slow"), 60, "the slow step runs")
    flow_run_id = parts.execution(execution_id)["flow_run_id"]

    if through == "Prefect":
        parts.prefect("POST", f"/flow_runs/{flow_run_id}/set_state", json={"state": {"type": "CANCELLING"}})
    else:
        assert parts.post(f"/api/executions/{execution_id}/cancel", json={"reason": "wrong order"}).status_code == 202

    execution = parts.ended(execution_id)
    assert execution["status"] == "cancelled"
    assert through in execution["error"]["message"]
    eventually(lambda: in_state(parts, flow_run_id, "CANCELLED"), why="Prefect has it cancelled")
    assert sink.bodies("/after") == []
    eventually(lambda: slots_taken(parts, "three-steps") == 0, why="its slot is free again")


@pytest.mark.usefixtures("process_worker")
def test_a_webhook_starts_what_prefect_deployed_to_a_stock_pool(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "greet.py").write_text(
        "from connectors import log\n"
        "from flows import Event, webhook, workflow\n\n\n"
        "@workflow(triggers=[webhook(auth='none')])\n"
        "async def greet(event: Event) -> str:\n"
        "    return (await log.message(text=f'Hello {event.body}'))['text']\n"
    )
    (tmp_path / "prefect.yaml").write_text(
        "deployments:\n"
        "  - name: greet\n"
        "    entrypoint: greet.py:greet\n"
        f"    work_pool: {{name: {PROCESSES}}}\n"
        "    version: '{{ version }}'\n"
        "    push: [{ipaas.publish.publish_entrypoint: {entrypoint: 'greet.py:greet'}}]\n"
    )
    prefect(parts, "--no-prompt", "deploy", "--all", cwd=tmp_path)

    execution = parts.ended(parts.send("greet", "Ada"), 90)

    assert (execution["status"], execution["output"]) == ("succeeded", "Hello Ada")
    assert parts.flow_run(execution["flow_run_id"])["work_pool_name"] == PROCESSES


def prefect(parts: Parts, *arguments: str, cwd: Path = ROOT) -> None:
    """Runs Prefect's command line."""
    done = parts.run("prefect", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def move_to_processes(parts: Parts, workflow: str) -> None:
    parts.prefect("PATCH", f"/deployments/{parts.deployment(workflow)['id']}", json={"work_pool_name": PROCESSES})


def in_state(parts: Parts, flow_run_id: str, state: str) -> dict[str, Any] | None:
    run = parts.flow_run(flow_run_id)
    return run if run["state_type"] == state else None


def of_flow_run(parts: Parts, flow_run_id: str) -> dict[str, Any] | None:
    found = [one for one in parts.executions() if one["flow_run_id"] == flow_run_id]
    return found[0] if found else None


def slots_taken(parts: Parts, workflow: str) -> int:
    limit = parts.deployment(workflow)["global_concurrency_limit"]
    taken: int = parts.prefect("GET", f"/v2/concurrency_limits/{limit['id']}")["active_slots"]
    return taken
