"""The running platform, for tests: `ipaas up` or its parts as processes, a sink that records requests, and waiting."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

T = TypeVar("T")
WORKFLOWS = Path(__file__).parent / "e2e" / "workflows"
PARTS = {"prefect": "ipaas.platform.prefect_server", "gateway": "gateway", "worker": "worker"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(ask: Callable[[], T | None], seconds: float = 30, why: str = "") -> T:
    """What `ask` gives once it gives something true; fails after `seconds` (a bound on hanging, no expectation)."""
    end = time.monotonic() + seconds
    while True:
        if answer := ask():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {seconds} s: {why or ask}")
        time.sleep(0.05)


def written_for(sink: Sink, folder: Path) -> Path:
    """The test workflows, with the sink's address in place."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in WORKFLOWS.iterdir():
        if source.suffix in (".yaml", ".py"):
            (folder / source.name).write_text(source.read_text().replace("http://sink", sink.url))
    return folder


@dataclass
class Received:
    path: str
    body: Any
    headers: dict[str, str]
    at: float


class Sink:
    """A small HTTP server that answers 200, `/slow` only when let go, `/fail` with 500; it remembers every request.

    `most_at_once` is how many requests it had in hand at the same time, at most; each takes `seconds`.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.release = threading.Event()
        self.seconds = 0.0
        self.at_once = self.most_at_once = 0
        self._counting = threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = json.loads(self.rfile.read(length) or b"null")
                headers = {name.lower(): value for name, value in self.headers.items()}
                sink.received.append(Received(self.path, body, headers, time.monotonic()))
                with sink.in_hand():
                    time.sleep(sink.seconds)
                    if self.path.startswith("/slow"):
                        sink.release.wait(60)
                answer = json.dumps({"got": body}).encode()
                self.send_response(500 if self.path.startswith("/fail") else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815 - http.server's name

            def log_message(self, *args: Any) -> None:
                """Not on the tests' output."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, *args: Any) -> None:
                """A caller that was killed has hung up."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        with self._counting:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self._counting:
                self.at_once -= 1

    def clear(self) -> None:
        """As new."""
        self.received.clear()
        self.release.clear()
        self.seconds, self.most_at_once = 0.0, 0

    def bodies(self, path: str) -> list[Any]:
        return [request.body for request in list(self.received) if request.path.partition("?")[0] == path]

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Platform:
    """`ipaas up` on free ports with a home of its own."""

    home: Path
    workflows: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    prefect_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def prefect_api(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}/api"

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.home.name}.log"

    def env(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "IPAAS_"))}
        return inherited | {"IPAAS_HOME": str(self.home)} | self.environment

    @property
    def command_line(self) -> list[str]:
        argv = [sys.executable, "-m", "ipaas", "up", "--port", str(self.port), "--prefect-port", str(self.prefect_port)]
        return [*argv, "--workflows", str(self.workflows)]

    def start(self, seconds: float = 120) -> Platform:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command_line, env=self.env(), stdout=log, stderr=log)
        started = self.process
        eventually(lambda: self._is_ready() or started.poll() is not None, seconds, "the platform is up")
        assert started.poll() is None, self.log.read_text()[-4000:]
        return self

    def _is_ready(self) -> bool:
        """Its own gateway answers; one that a killed platform left behind may do so, too."""
        try:
            return (
                bool(self.parts("gateway"))
                and (self.home / "addresses.json").exists()
                and self.get("/readyz").status_code == 200
            )
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(90)

    def parts(self, name: str | None = None) -> list[psutil.Process]:
        """The processes that `ipaas up` watches: children of its forkserver, where it has one."""
        assert self.process
        modules = set(PARTS.values()) if name is None else {PARTS[name]}
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [child for child in children if modules & set(child.cmdline())]
        except psutil.NoSuchProcess:
            return []

    def kill(self, name: str) -> None:
        """SIGKILL to one part; waits until another one has taken its place."""
        victims = self.parts(name)
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
        dead = {victim.pid for victim in victims}
        eventually(lambda: [part for part in self.parts(name) if part.pid not in dead], 30, f"{name} is started again")

    def kill_everything(self) -> None:
        """SIGKILL to the whole platform at once, `ipaas up` first."""
        assert self.process
        parts = self.parts()
        self.process.kill()
        for part in parts:
            part.kill()
        self.process.wait(10)
        psutil.wait_procs(parts, 10)

    def ipaas(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs the command line against this platform."""
        return self.run("ipaas", *arguments, stdin=stdin)

    def run(
        self, module: str, *arguments: str, stdin: str | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a module in the environment of this platform's commands."""
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self.env(),
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def token(self) -> str:
        return (self.home / "api-token").read_text().strip()

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token()}"} if path.startswith("/api") else {}
        return httpx.get(self.url + path, headers=headers, timeout=30, trust_env=False, **kwargs)

    def post(self, path: str, **kwargs: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token()}"} if path.startswith("/api") else {}
        return httpx.post(
            self.url + path, headers=headers | kwargs.pop("headers", {}), timeout=60, trust_env=False, **kwargs
        )

    def send(self, hook: str, body: Any) -> str:
        """Posts an event; the execution's id."""
        answer = self.post(f"/hooks/{hook}", json=body)
        assert answer.status_code == 202, answer.text
        execution_id: str = answer.json()["execution_id"]
        return execution_id

    def execution(self, execution_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.get(f"/api/executions/{execution_id}").json()
        return document

    def ended(self, execution_id: str, seconds: float = 60) -> dict[str, Any]:
        """The execution, once it has ended."""

        def ask() -> dict[str, Any] | None:
            try:
                document = self.execution(execution_id)
            except httpx.TransportError:
                return None
            return document if document.get("status") not in ("accepted", "running", "waiting") else None

        return eventually(ask, seconds, f"execution {execution_id} ends")

    def executions(self, **query: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("/api/executions", params=query).json()["items"]
        return items

    def prefect(self, method: str, path: str, **kwargs: Any) -> Any:
        """Asks Prefect's own API."""
        user, _, password = self.environment.get("IPAAS_PREFECT_AUTH", "").partition(":")
        auth = (user, password) if user else None
        answer = httpx.request(method, self.prefect_api + path, timeout=30, trust_env=False, auth=auth, **kwargs)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.prefect("GET", f"/flow_runs/{flow_run_id}")
        return document

    def deployment(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = self.prefect("GET", f"/deployments/name/{name}/{name}")
        return document


@dataclass
class Parts(Platform):
    """The platform's parts, started one by one: Prefect's server, any number of gateways, any number of workers.

    `port` is the gateway that `get` and `post` ask; the others' addresses come from `start_gateway`.
    """

    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def env(self) -> dict[str, str]:
        return super().env() | {"PREFECT_API_URL": self.prefect_api}

    def start(self, seconds: float = 120) -> Parts:
        """Prefect's server, the history, the deployments and one gateway; no worker."""
        self.start_server(seconds)
        self.command("db", "upgrade")
        self.command("deploy", str(self.workflows))
        self.start_gateway(self.port)
        return self

    def command(self, *arguments: str) -> None:
        done = self.ipaas(*arguments)
        assert done.returncode == 0, done.stderr

    def start_server(self, seconds: float = 120) -> subprocess.Popen[bytes]:
        server = self._start("ipaas", "server", "--port", str(self.prefect_port))
        self._wait_for(server, self.prefect_api + "/health", seconds)
        return server

    def start_gateway(self, port: int, seconds: float = 60) -> subprocess.Popen[bytes]:
        gateway = self._start("ipaas", "gateway", "--port", str(port))
        self._wait_for(gateway, f"http://127.0.0.1:{port}/readyz", seconds)
        return gateway

    def start_worker(self, *command: str) -> subprocess.Popen[bytes]:
        """An `ipaas worker`, or the module and arguments that are given, once Prefect knows it."""
        known = self.workers_online()
        worker = self._start(*(command or ("ipaas", "worker")))
        eventually(lambda: worker.poll() is not None or self.workers_online() > known, 60, "the worker is online")
        assert worker.poll() is None, self.log.read_text()[-4000:]
        return worker

    def workers_online(self) -> int:
        pools = self.prefect("POST", "/work_pools/filter", json={})
        workers = [self.prefect("POST", f"/work_pools/{pool['name']}/workers/filter", json={}) for pool in pools]
        return sum(worker["status"] == "ONLINE" for of_pool in workers for worker in of_pool)

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                process.wait(90)

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            argv = [sys.executable, "-m", module, *arguments]
            process = subprocess.Popen(argv, env=self.env(), stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def _wait_for(self, process: subprocess.Popen[bytes], health: str, seconds: float) -> None:
        def answers() -> bool:
            try:
                return httpx.get(health, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        eventually(lambda: process.poll() is not None or answers(), seconds, f"{health} answers")
        assert process.poll() is None, self.log.read_text()[-4000:]
