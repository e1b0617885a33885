"""`ipaas credentials` and `ipaas keys rotate` against a real Prefect server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from oauth_server import SECRET, OAuthServer, oauth_server
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


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with oauth_server() as running:
        yield running


@pytest.fixture
def tokens(ipaas, prefect_server, tmp_path: Path) -> dict[str, str]:
    """The environment of a platform whose history is a file of its own."""
    environment = {"IPAAS_DATABASE_URL": f"sqlite:///{tmp_path / 'tokens.db'}"}
    assert ipaas("db", "upgrade", env=environment).returncode == 0
    return environment


def secrets_of(server: OAuthServer) -> list[str]:
    return [SECRET, *(one for token in server.tokens for one in (token.access_token, token.refresh_token) if one)]


async def test_an_oauth2_credential_from_set_to_delete_is_readable_nowhere(
    ipaas, server: OAuthServer, tokens, prefect_server, tmp_path: Path
) -> None:
    values = server.credential(grant="client_credentials")
    said = [ipaas("credentials", "set", "oa", "--type", "oauth2", stdin=values, env=tokens)]
    try:
        said += [
            ipaas("credentials", "test", "oa", env=tokens),
            ipaas("credentials", "show", "oa", "--json", env=tokens),
        ]
        assert said[1].stdout == "oa opens; it has a good token\n"
        assert json.loads(said[2].stdout)["tokens"]["state"] == "good"
        assert server.asked == {"client_credentials": 1}
        said.append(ipaas("credentials", "test", "oa", env=tokens))
        assert server.asked == {"client_credentials": 1}
        before = next(tmp_path.glob("tokens.db")).read_bytes()
        document = await read_document("oa", "oauth2", prefect_server.url)
    finally:
        said.append(ipaas("credentials", "delete", "oa", env=tokens))
    for secret in secrets_of(server):
        assert secret.encode() not in before
        assert secret not in str(document)
        assert not any(secret in one.stdout + one.stderr for one in said)


async def read_document(name: str, slug: str, api: str) -> Any:
    """All that Prefect has of it, secrets included."""
    async with httpx.AsyncClient(base_url=api) as client:
        answer = await client.get(
            f"/block_types/slug/{slug}/block_documents/name/{name}", params={"include_secrets": True}
        )
        answer.raise_for_status()
        return answer.json()


def test_a_device_code_connects_it_from_a_terminal(ipaas, server: OAuthServer, tokens, prefect_server) -> None:
    values = server.credential(grant="device_code")
    assert ipaas("credentials", "set", "dev", "--type", "oauth2", stdin=values, env=tokens).returncode == 0
    try:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("IPAAS_", "PREFECT_"))}
        home = {"IPAAS_HOME": str(prefect_server.settings.home), "PREFECT_API_URL": prefect_server.url}
        command = [sys.executable, "-m", "ipaas", "credentials", "connect", "dev", "--by", "kim"]
        with subprocess.Popen(
            command, env=clean | home | tokens, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            assert running.stderr
            asked = running.stderr.readline()
            assert asked.startswith(f"go to {server.url}/activate and type in ")
            server.decide(asked.split()[-1])
            said, _ = running.communicate(timeout=60)
        assert said == "dev is connected\n"
        shown = json.loads(ipaas("credentials", "show", "dev", "--json", env=tokens).stdout)
        assert (shown["tokens"]["state"], shown["tokens"]["connected_by"]) == ("good", "kim")
    finally:
        ipaas("credentials", "delete", "dev", env=tokens)


def test_what_needs_no_consent_is_not_connected(ipaas, tokens) -> None:
    ipaas("credentials", "set", "plain", "--type", "bearer", stdin={"token": "t-12345678"}, env=tokens)
    try:
        refused = ipaas("credentials", "connect", "plain", env=tokens)
        assert "credential 'plain' needs no consent: `ipaas credentials test plain` tries it out" in refused.stderr
    finally:
        ipaas("credentials", "delete", "plain", env=tokens)
