"""A connector that a package brings is as good as one that ships: its suite, its secrets, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from outside_package import FOLDER, with_package

from blocks import Keyring

ROOT = Path(__file__).parents[2]
REGISTER = """
import asyncio
from prefect.client.orchestration import get_client
from ipaas.platform.prepare import register_block_types

async def main():
    async with get_client() as client:
        await register_block_types(client)

asyncio.run(main())
"""


def run(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """A command, in a process where the package is installed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("IPAAS_", "PREFECT_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=with_package(clean | variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_passes_the_suite_that_it_inherits() -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER / "acme_parcels_suite.py"))
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_what_is_typed_into_its_block_form_is_stored_sealed(prefect_server: Any) -> None:
    home = str(prefect_server.settings.home)
    registered = run("-c", REGISTER, PREFECT_API_URL=prefect_server.url, IPAAS_HOME=home)
    assert registered.returncode == 0, registered.stderr
    with httpx.Client(base_url=prefect_server.url, trust_env=False, timeout=30) as http:
        kind = http.get("/block_types/slug/parcels").json()
        of_kind = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
        [schema] = http.post("/block_schemas/filter", json=of_kind).json()
        form = {"name": "typed", "block_type_id": kind["id"], "block_schema_id": schema["id"]}
        made = http.post("/block_documents/", json=form | {"data": {"token": "s3cret-1"}})
        place = f"/block_documents/{made.json()['id']}"
        stored = http.get(place, params={"include_secrets": True}).json()["data"]
        http.delete(place)
    assert Keyring.is_sealed(stored["token"])


def test_the_command_line_sets_its_credentials_and_seals_them_anew(prefect_server: Any, tmp_path: Path) -> None:
    old, new = Keyring.new_key(), Keyring.new_key()

    def ipaas(*arguments: str, keys: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        variables = {"PREFECT_API_URL": prefect_server.url, "IPAAS_HOME": str(tmp_path), "IPAAS_ENCRYPTION_KEYS": keys}
        return run("-m", "ipaas", *arguments, stdin=stdin, **variables)

    def sealed_with() -> list[str]:
        shown = ipaas("credentials", "show", "team-parcels", "--json", keys=new)
        return json.loads(shown.stdout)["key_ids"]

    done = ipaas("credentials", "set", "team-parcels", "--type", "parcels", keys=old, stdin='{"token": "s3cret-2"}')
    assert done.returncode == 0, done.stderr
    before = sealed_with()
    ipaas("keys", "rotate", keys=f"{new},{old}")  # other tests' credentials may not open: it says so, and goes on
    after = sealed_with()
    assert ipaas("credentials", "delete", "team-parcels", keys=new).returncode == 0
    assert len(before) == len(after) == 1
    assert before != after
