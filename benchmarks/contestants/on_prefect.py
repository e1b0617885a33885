"""Prefect alone: the same version as ours, its own server, and flows that `serve` runs, a process a run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import prefect

from benchmarks.contestants.contestant import Contestant, Running, Unavailable, Work, last_line, start, stop
from benchmarks.load import Target
from benchmarks.processes import Tree
from tests.platform_process import eventually, free_port

APP = Path(__file__).parent / "apps" / "on_prefect.py"


class OnPrefect(Contestant):
    key, title, version, store = "prefect", "Prefect alone", prefect.__version__, "SQLite"

    def prepare(self, home: Path, receiver: str) -> None:
        home.mkdir(parents=True)
        self._home = home
        self._app = Path(shutil.copy(APP, home))
        (home / "receiver").write_text(receiver, encoding="utf-8")

    def start(self) -> Running:
        port = free_port()
        api = f"http://127.0.0.1:{port}/api"
        environment = {
            "PREFECT_HOME": str(self._home / "prefect"),
            "PREFECT_API_URL": api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        log = self._home / "log"
        argv = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        processes = [start(argv, log, env=environment)]
        try:
            eventually(lambda: _answers(f"{api}/health"), 120, "Prefect's server answers")
            processes.append(start([sys.executable, str(self._app)], log, env=environment, cwd=self._home))
            ids = {work: _served(api, work) for work in (Work.ONE, Work.THREE)}
        except AssertionError as error:
            stop(processes)
            raise Unavailable(f"{error}: {last_line(log)}") from error
        targets = {
            work: Target(port, f"/api/deployments/{own}/create_flow_run", '{"parameters": {"n": {n}}}')
            for work, own in ids.items()
        }
        return Running(Tree([process.pid for process in processes], part), targets, processes)


def part(command: Sequence[str]) -> str:
    """What a process is, by its command line."""
    if "server" in command or any("prefect.server" in word for word in command):
        return "Prefect's server"
    return "serve" if any(word.endswith(APP.name) for word in command) else "the runs"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _served(api: str, work: Work) -> str:
    """The id of its deployment, once there is one."""

    def ask() -> str | None:
        answer = httpx.get(f"{api}/deployments/name/{work}/{work}", trust_env=False)
        return str(answer.json()["id"]) if answer.status_code == 200 else None

    return eventually(ask, 60, "the flows are served")
