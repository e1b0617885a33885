"""A PostgreSQL server of the test's own, to be killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from platform_process import eventually, free_port
from postgres import run_sql


class PrivatePostgres:
    """Its cluster is in a new folder; skips where PostgreSQL's programs are missing, but fails where CI=true."""

    def __init__(self) -> None:
        self._programs = _programs()
        self._folder = Path(tempfile.mkdtemp(prefix="ipaas-postgres-"))
        self._port = free_port()
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(self._folder, "postgres")
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--pgdata", self._data)
        self.start()
        for name in ("ipaas", "prefect"):
            run_sql(self.url("postgres"), f"CREATE DATABASE {name}")

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {self._folder}"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", str(self._folder / "log"), "-o", options)

    def kill(self) -> None:
        """SIGKILL to the server; starts it again as soon as its own children have noticed."""
        os.kill(int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)

        def started() -> bool:
            try:
                self.start()
            except subprocess.CalledProcessError:  # the dead one's shared memory is still in use
                return False
            return True

        eventually(started, 60, "PostgreSQL is started again")

    def close(self) -> None:
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", self._data)
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        argv: Sequence[str] = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            argv = ["runuser", "-u", "postgres", "--", *argv]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path))
    if not found:
        complain = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        complain("no PostgreSQL programs (initdb, pg_ctl) on this machine")
    return found[-1].parent
