"""`ipaas credentials` and `ipaas keys rotate` against a real Prefect server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks import BLOCK_TYPES, delete_credential, list_credentials

Ipaas = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ipaas(prefect_server) -> Ipaas:
    """Runs `ipaas …` in a process of its own, in the server's home."""

    def run(
        *arguments: str, stdin: Any = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("IPAAS_", "PREFECT_"))}
        ours = {"IPAAS_HOME": str(prefect_server.settings.home), "PREFECT_API_URL": prefect_server.url}
        return subprocess.run(
            [sys.executable, "-m", "ipaas", *arguments],
            env=clean | ours | dict(env or {}),
            input=json.dumps(stdin),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_a_credential_from_set_to_delete_is_never_shown(ipaas):
    assert (
        ipaas("credentials", "set", "shop", "--type", "basic", stdin={"username": "u", "password": "geheim"}).returncode
        == 0
    )
    listed = ipaas("credentials", "--json")
    shown = ipaas("credentials", "show", "shop", "--json")
    tested = ipaas("credentials", "test", "shop")
    assert "shop" in [item["name"] for item in json.loads(listed.stdout)["items"]]
    assert json.loads(shown.stdout)["fields"] == {"username": "u", "password": True, "previous": 0}
    assert tested.stdout == "shop opens; there is nothing to ask for type basic\n"
    assert ipaas("credentials", "delete", "shop").returncode == 0
    gone = ipaas("credentials", "show", "shop")
    assert (gone.returncode, gone.stderr) == (1, "ipaas: credential 'shop' does not exist: see `ipaas credentials`\n")
    assert not any("geheim" in one.stdout + one.stderr for one in (listed, shown, tested, gone))


async def forget_all_credentials(api: str) -> None:
    """Other tests on this server sealed theirs with keys of their own, which no rotation here can open."""
    with temporary_settings({PREFECT_API_URL: api}):
        for stored in await list_credentials():
            await delete_credential(stored.name, BLOCK_TYPES[stored.type])


async def test_rotating_seals_with_the_newest_key(ipaas, prefect_server):
    await forget_all_credentials(prefect_server.url)
    assert ipaas("credentials", "set", "rotated", "--type", "bearer", stdin={"token": "geheim"}).returncode == 0
    assert ipaas("keys", "new").returncode == 0
    [newest, *_] = json.loads(ipaas("keys", "--json").stdout)["items"]
    assert json.loads(ipaas("keys", "rotate", "--json").stdout)["key"] == newest["id"]
    assert json.loads(ipaas("credentials", "show", "rotated", "--json").stdout)["key_ids"] == [newest["id"]]
    assert ipaas("credentials", "test", "rotated").returncode == 0


def test_a_wrong_key_is_one_line(ipaas):
    assert ipaas("credentials", "set", "locked", "--type", "bearer", stdin={"token": "geheim"}).returncode == 0
    outcome = ipaas("credentials", "test", "locked", env={"IPAAS_ENCRYPTION_KEYS": "A" * 43 + "="})
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("ipaas: credential 'locked': bearer.token was sealed with key ")
    assert outcome.stderr.count("\n") == 1


def test_something_else_than_prefect_is_named(ipaas, prefect_server):
    outcome = ipaas("credentials", env={"PREFECT_API_URL": prefect_server.url.removesuffix("/api")})
    assert outcome.returncode == 1
    assert "is not Prefect's API; its URL ends in /api" in outcome.stderr
