"""Prefect's server as `ipaas up` starts it, as a process with a home and a database of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from outside_package import with_package
from platform_process import eventually, free_port

from foundation.settings import Settings
from ipaas.platform.environment import server_environment

OURS = ("-m", "ipaas.platform.prefect_server")


@dataclass(frozen=True)
class PrefectServer:
    url: str
    """Of its API."""
    settings: Settings
    """Its home has its database, its log and the keys that it seals with."""
    database: str
    """Its database's URL, for SQLAlchemy."""

    @property
    def log(self) -> str:
        return (self.settings.home / "server.log").read_text()


@contextmanager
def prefect_process(
    home: Path, more: Mapping[str, str] | None = None, *, command: Sequence[str] = OURS
) -> Iterator[PrefectServer]:
    """On a free port, until the block ends.

    Args:
        more: of its environment.
        command: Python's arguments.
    """
    port = free_port()
    settings = Settings(_env_file=None, home=home)  # type: ignore[call-arg]
    environment = server_environment(settings, host="127.0.0.1", port=port) | {"IPAAS_HOME": str(home)}
    environment = with_package(environment | dict(more or {}))
    url, database = f"http://127.0.0.1:{port}/api", environment["PREFECT_API_DATABASE_CONNECTION_URL"]
    server = PrefectServer(url, settings, database)
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: _is_healthy(server.url) or process.poll() is not None, 120, "Prefect's server is up")
        assert process.poll() is None, server.log[-4000:]
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _is_healthy(api: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{api}/health", trust_env=False).status_code == 200
    return False
