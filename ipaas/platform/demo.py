"""`make demo`: the whole platform on free ports in a fresh home, one webhook, what became of it, and away again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from foundation.errors import IpaasError

START_SECONDS: Final = 180.0
STOP_SECONDS: Final = 90.0
LOG_LINES: Final = 20
"""How much of the platform's output is shown when it does not start."""


class DemoFailed(IpaasError):
    """The demo did not go as it should; the message says where."""

    code = "demo"


def main() -> int:
    """Runs the demo; 0 when everything went as it should."""
    home = Path(tempfile.mkdtemp(prefix="ipaas-demo-"))
    try:
        with _platform(home) as addresses:
            _show_one_webhook(addresses, (home / "api-token").read_text().strip())
    except (DemoFailed, httpx.HTTPError, OSError) as error:
        sys.stderr.write(f"demo: {error or type(error).__name__}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    _say("Everything is stopped, and the demo's home is removed.")
    return 0


@contextmanager
def _platform(home: Path) -> Iterator[dict[str, str]]:
    """The addresses of a platform that runs within."""
    port, prefect_port = _free_ports(2)
    log = home / "up.log"
    argv = [sys.executable, "-m", "ipaas", "up", "--home", str(home)]
    argv += ["--port", str(port), "--prefect-port", str(prefect_port)]
    _say(f"$ ipaas {' '.join(argv[3:])}")
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            argv, env=_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield _started(process, home, log)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DemoFailed(f"the platform did not stop within {STOP_SECONDS:g} s") from None
    if process.returncode != 0:
        raise DemoFailed(f"the platform stopped with exit code {process.returncode}\n{_end_of(log)}")


def _environment() -> dict[str, str]:
    """This process's, without what would point the demo at another platform."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("IPAAS_", "PREFECT_"))}


def _started(process: subprocess.Popen[bytes], home: Path, log: Path) -> dict[str, str]:
    deadline, file = time.monotonic() + START_SECONDS, home / "addresses.json"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoFailed(f"the platform ended with exit code {process.returncode}\n{_end_of(log)}")
        try:
            addresses: dict[str, str] = json.loads(file.read_text())
        except (FileNotFoundError, ValueError):  # not there yet, or only half
            time.sleep(0.1)
        else:
            return addresses
    raise DemoFailed(f"the platform did not start within {START_SECONDS:g} s\n{_end_of(log)}")


def _show_one_webhook(addresses: dict[str, str], token: str) -> None:
    gateway, body = addresses["gateway"], {"name": "Ada"}
    _say(f"\n$ curl -X POST {gateway}/hooks/hello -H 'Content-Type: application/json' -d '{json.dumps(body)}'")
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.post(f"{gateway}/hooks/hello", json=body)
        _say(f"HTTP {answer.status_code}\n{answer.text}")
        if answer.status_code != 200 or answer.json() != {"message": "Hello Ada!"}:
            raise DemoFailed("the webhook was not answered with the greeting")
        execution = _newest_execution(client, f"{gateway}/api/executions", token)
        _say(f"\nThe execution, with its steps (GET /api/executions/{execution['id']}):")
        _say(json.dumps(execution, indent=2, ensure_ascii=False))
        if execution["status"] != "succeeded":
            raise DemoFailed(f"the execution ended as {execution['status']}")
        state = _state_in_prefect(client, addresses["prefect_api"], execution["flow_run_id"])
        _say(f"\nPrefect's flow run: {execution['flow_run_url']}")
        _say(f"Its state, as Prefect's API says: {state}\n")
        if state != "Completed":
            raise DemoFailed(f"Prefect says that the flow run is {state}")


def _newest_execution(client: httpx.Client, url: str, token: str) -> dict[str, Any]:
    bearer = {"Authorization": f"Bearer {token}"}
    items = client.get(url, params={"workflow": "hello", "limit": 1}, headers=bearer).raise_for_status().json()["items"]
    if not items:
        raise DemoFailed("the API lists no execution")
    execution: dict[str, Any] = client.get(f"{url}/{items[0]['id']}", headers=bearer).raise_for_status().json()
    return execution


def _state_in_prefect(client: httpx.Client, api: str, flow_run_id: str) -> str:
    """The flow run's state; the answer to the sender may be a moment faster than Prefect."""
    deadline = time.monotonic() + 15
    while True:
        state: dict[str, Any] = client.get(f"{api}/flow_runs/{flow_run_id}").raise_for_status().json()["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") or time.monotonic() > deadline:
            return str(state["name"])
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
