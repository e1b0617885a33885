"""DBOS: durable workflows as a library in a FastAPI app, on SQLite or PostgreSQL."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.contestants.contestant import Contestant, Running, Work, start
from benchmarks.contestants.environments import python_environment
from benchmarks.contestants.postgres import database
from benchmarks.load import Target
from benchmarks.processes import Tree
from tests.platform_process import free_port

VERSION = "3.4.0"
APP = Path(__file__).parent / "apps" / "on_dbos.py"


class OnDbos(Contestant):
    def __init__(self, *, postgres: bool = False) -> None:
        self.key = "dbos-postgres" if postgres else "dbos"
        self.title = "DBOS"
        self.version = VERSION
        self.store = "PostgreSQL" if postgres else "SQLite"
        self._postgres = postgres
        self._open = ExitStack()

    def prepare(self, home: Path, receiver: str) -> None:
        wanted = [f"dbos=={VERSION}", "fastapi", "uvicorn[standard]", "httpx", "psycopg[binary]"]
        self._python = python_environment("dbos", wanted) / "python"
        home.mkdir(parents=True)
        self._home, self._receiver, self._databases = home, receiver, list[str]()
        self._url = f"sqlite:///{home / 'dbos.sqlite'}"
        if self._postgres:
            self._url = self._open.enter_context(database())
            self._databases = [self._url.rpartition("/")[2]]

    def start(self) -> Running:
        port = free_port()
        argv = [str(self._python), str(APP), str(port), self._url, self._receiver]
        process = start(argv, self._home / "log", cwd=self._home)
        targets = {work: Target(port, f"/{work}") for work in Work}
        return Running(Tree([process.pid], lambda _: "app", self._databases), targets, [process])

    def clear(self) -> None:
        self._open.close()
