"""`ipaas up` and its parts: they end together, in bounded time, and one home has one platform."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from platform_process import Platform, Sink, eventually

Make = Callable[[Sink], Platform]
HANGING = 150.0
"""Seconds after which a process counts as one that does not end; no expectation of how long it takes."""


def test_a_killed_supervisor_leaves_no_orphans_and_loses_nothing(own_platform: Make, sink: Sink) -> None:
    platform = own_platform(sink).start()
    parts = platform.parts()
    assert len(parts) == 3
    slow = [platform.send("three-steps", {"n": n}) for n in range(2)]
    eventually(lambda: len(sink.bodies("/slow")) == 2, why="the slow steps run")
    waiting = [platform.send("to-sink", {"n": n}) for n in range(3)]
    assert platform.process

    platform.process.kill()
    platform.process.wait(10)
    _, alive = psutil.wait_procs(parts, HANGING)

    assert alive == []
    assert [port for port in (platform.port, platform.prefect_port) if not is_free(port)] == []
    sink.release.set()
    platform.start()
    assert {platform.ended(one, 120)["status"] for one in slow + waiting} == {"succeeded"}
    assert Counter(body["n"] for body in sink.bodies("/before")) == {0: 1, 1: 1}
    assert Counter(body["n"] for body in sink.bodies("/after")) == {0: 1, 1: 1}


def test_it_can_be_started_again_while_the_killed_ones_parts_are_stopping(own_platform: Make, sink: Sink) -> None:
    platform = own_platform(sink).start()
    parts = platform.parts()
    execution = platform.send("three-steps", {"n": 1})
    eventually(lambda: sink.bodies("/slow"), why="the worker is busy and takes its time to stop")
    assert platform.process

    platform.process.kill()
    platform.process.wait(10)
    platform.start()

    assert [part.pid for part in parts if part.is_running()] == []
    sink.release.set()
    assert platform.ended(execution, 120)["status"] == "succeeded"


@pytest.mark.parametrize("prefect", ["hangs", "is dead"])
def test_it_stops_though_prefect_does_not_answer(own_platform: Make, sink: Sink, prefect: str) -> None:
    platform = own_platform(sink).start()
    execution = platform.send("three-steps", {"n": 1})
    eventually(lambda: sink.bodies("/slow"), why="a step is under way")
    parts = platform.parts()
    [server] = platform.parts("prefect")
    server.send_signal(signal.SIGSTOP if prefect == "hangs" else signal.SIGKILL)
    assert platform.process

    platform.process.send_signal(signal.SIGINT)
    sink.release.set()
    assert platform.process.wait(HANGING) == 0
    _, alive = psutil.wait_procs(parts, 5)

    assert alive == []
    platform.start()
    assert platform.ended(execution, 120)["status"] == "succeeded"
    assert [len(sink.bodies(path)) for path in ("/before", "/slow", "/after")] == [1, 1, 1]


def test_a_second_ctrl_c_stops_at_once(own_platform: Make, sink: Sink) -> None:
    platform = own_platform(sink).start()
    execution = platform.send("three-steps", {"n": 1})
    eventually(lambda: sink.bodies("/slow"), why="a step is under way, and stays so")
    parts = platform.parts()
    assert platform.process

    platform.process.send_signal(signal.SIGINT)
    eventually(lambda: "Ctrl-C again stops at once" in platform.log.read_text(), why="it says so")
    platform.process.send_signal(signal.SIGINT)

    assert platform.process.wait(HANGING) == 130
    assert [part.pid for part in parts if part.is_running()] == []
    sink.release.set()
    platform.start()
    assert platform.ended(execution, 120)["status"] == "succeeded"


def test_a_home_has_one_platform_and_a_port_one_listener(platform: Platform, tmp_path: Path) -> None:
    assert platform.process

    def refused(home: Path) -> str:
        again = Platform(home, platform.workflows, port=platform.port, prefect_port=platform.prefect_port)
        done = subprocess.run(again.command_line, env=again.env(), capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    assert refused(platform.home).startswith(f"ipaas: a platform (process {platform.process.pid}) uses the home")
    assert refused(tmp_path / "other") == (
        f"ipaas: can't use 127.0.0.1:{platform.port} for the gateway: Address already in use; "
        "choose another with --port\n"
    )


def test_the_files_of_the_home_are_for_their_owner(platform: Platform) -> None:
    pages = platform.home / "prefect" / "ui"  # Prefect's own, copied as they are into a folder that is closed
    files = [one for one in platform.home.rglob("*") if pages not in one.parents]

    assert {"ipaas.db", "prefect.db", "encryption-keys", "api-token", "addresses.json"} <= {one.name for one in files}
    assert [str(one) for one in files if one.exists() and one.stat().st_mode & 0o077] == []


def test_a_wrong_workflow_is_said_and_nothing_stays(own_platform: Make, sink: Sink) -> None:
    platform = own_platform(sink)
    (platform.workflows / "wrong.yaml").write_text("name: wrong\nsteps: [{id: a, uses: log.massage}]\n")

    done = subprocess.run(platform.command_line, env=platform.env(), capture_output=True, text=True, timeout=120)

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{platform.workflows / 'wrong.yaml'}:2:17: ")
    assert is_free(platform.prefect_port)
    assert not (platform.home / "addresses.json").exists()


def test_an_entrypoint_from_elsewhere_fails_with_the_reason_and_is_not_imported(
    platform: Platform, tmp_path: Path
) -> None:
    mark = tmp_path / "imported"
    (tmp_path / "elsewhere.py").write_text(
        f"import pathlib, prefect\npathlib.Path({str(mark)!r}).touch()\n\n@prefect.flow\ndef flow(): ...\n"
    )
    flow = platform.prefect("POST", "/flows/", json={"name": "elsewhere"})
    named = {"name": "elsewhere", "flow_id": flow["id"], "work_pool_name": "ipaas"}
    entrypoint = {"entrypoint": "elsewhere.py:flow", "path": str(tmp_path)}
    deployment = platform.prefect("POST", "/deployments/", json=named | entrypoint)

    run = platform.prefect("POST", f"/deployments/{deployment['id']}/create_flow_run", json={})

    def failed() -> str | None:
        state = platform.flow_run(run["id"])["state"]
        return state["message"] if state["type"] in ("FAILED", "CRASHED") else None

    assert "elsewhere.py:flow of workflow elsewhere does not run here" in eventually(failed, 60, "it fails")
    assert not mark.exists()


def test_with_a_password_everything_works_and_the_password_is_nowhere(
    own_platform: Make, sink: Sink, tmp_path: Path
) -> None:
    platform = own_platform(sink)
    platform.environment["IPAAS_PREFECT_AUTH"] = "ada:s3cret-pass"
    platform.start()
    sink.release.set()

    execution = platform.ended(platform.send("three-steps", {"n": 1}))
    assert execution["status"] == "succeeded"
    eventually(lambda: platform.flow_run(execution["flow_run_id"])["state_type"] == "COMPLETED", why="Prefect has it")

    of_home = Platform(platform.home, platform.workflows)  # a command that has only the home, not the variable
    deployed = of_home.ipaas("deploy", str(platform.workflows))
    assert deployed.returncode == 0, deployed.stderr
    ran = of_home.ipaas("run", "to-sink", "--body", body(tmp_path, {"n": 5}))
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["status"] == "succeeded"

    of_home.environment["IPAAS_PREFECT_AUTH"] = "ada:wrong"
    refused = of_home.ipaas("deploy", str(platform.workflows))
    assert (refused.returncode, "set IPAAS_PREFECT_AUTH" in refused.stderr) == (1, True)
    assert "s3cret-pass" not in platform.log.read_text() + deployed.stderr + ran.stdout + refused.stderr
    assert (platform.home / "prefect-auth").stat().st_mode & 0o777 == 0o600


def test_prefect_beyond_this_machine_without_a_password_is_refused(own_platform: Make, sink: Sink) -> None:
    platform = own_platform(sink)

    up = platform.ipaas("up", "--prefect-host", "0.0.0.0", "--prefect-port", str(platform.prefect_port))
    server = platform.ipaas("server", "--host", "0.0.0.0", "--port", str(platform.prefect_port))

    assert (up.returncode, server.returncode) == (1, 1)
    assert all("IPAAS_PREFECT_AUTH" in done.stderr for done in (up, server))
    assert not platform.home.exists()


def body(folder: Path, document: object) -> str:
    file = folder / "body.json"
    file.write_text(json.dumps(document))
    return str(file)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
