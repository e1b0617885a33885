"""A person connects a credential of a real OAuth 2 server, in a browser or with a device's code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from gateway_under_test import Gateway, gateway
from oauth_server import OAuthServer, oauth_server, query_of

from blocks import Keyring, MemoryCredentials, MemoryTokens, OAuth2
from blocks.sealed_text import Place
from connectors.kit.fresh_tokens import FreshCredentials
from connectors.kit.http_client import new_client
from connectors.kit.token_requests import TokenServer
from foundation.clock import SystemClock
from foundation.errors import CredentialError
from foundation.masking import Masker
from ipaas.connecting import Connecting

CRM = ("crm", "oauth2")
TOKEN = {"Authorization": "Bearer operator"}


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with oauth_server() as running:
        yield running


@asynccontextmanager
async def platform(server: OAuthServer, **more: Any) -> AsyncIterator[Gateway]:
    given = {"crm": server.credential(**more)}
    async with gateway(credentials=given, public_url="http://gateway.test", api_token="operator") as running:
        yield running


async def asked(on: Gateway, by: str = "kim") -> str:
    answer = await on.http.post("/api/credentials/crm/connect", json={"by": by}, headers=TOKEN)
    assert answer.status_code == 200, answer.text
    assert answer.json()["redirect_uri"] == "http://gateway.test/oauth/callback"
    return str(answer.json()["url"])


async def test_who_consents_connects_it(server: OAuthServer) -> None:
    async with platform(server) as on:
        sent_back = server.consent(await asked(on))
        page = await on.http.get(sent_back)
        state = await on.store.token(*CRM)

    assert (page.status_code, "crm is connected" in page.text) == (200, True)
    assert page.headers["cache-control"] == "no-store"
    assert state
    assert (state.connected_by, state.failure) == ("kim", None)
    assert state.sealed
    assert not any(token.access_token in state.sealed for token in server.tokens)
    assert server.asked == {"authorization_code": 1}


async def test_the_page_is_asked_with_pkce_and_a_state_that_tells_nothing(server: OAuthServer) -> None:
    async with platform(server) as on:
        query = query_of(await asked(on))

    assert query["code_challenge_method"] == "S256"
    assert "crm" not in query["state"]
    assert Keyring.is_sealed(query["state"])


@pytest.mark.parametrize(
    "state", ["", "guessed", Keyring.generate().seal("{}", Place("oauth2", "state"))], ids=["none", "guessed", "forged"]
)
async def test_a_state_that_is_none_of_ours_does_nothing(server: OAuthServer, state: str) -> None:
    async with platform(server) as on:
        page = await on.http.get("/oauth/callback", params={"state": state, "code": "c"})
        assert await on.store.token(*CRM) is None

    assert (page.status_code, server.asked) == (400, {})


async def test_a_state_is_good_once_and_the_newest_one_counts(server: OAuthServer) -> None:
    async with platform(server) as on:
        older, newer = server.consent(await asked(on)), server.consent(await asked(on))
        pages = [(await on.http.get(sent_back)).status_code for sent_back in (older, newer, newer)]

    assert pages == [400, 200, 400]
    assert server.asked == {"authorization_code": 1}


async def test_a_state_is_good_for_ten_minutes(server: OAuthServer) -> None:
    async with platform(server) as on:
        sent_back = server.consent(await asked(on))
        on.clock.move(seconds=601)
        page = await on.http.get(sent_back)

    assert (page.status_code, "the time to consent for crm is over" in page.text) == (400, True)


async def test_who_says_no_connects_nothing(server: OAuthServer) -> None:
    async with platform(server) as on:
        state = query_of(await asked(on))["state"]
        page = await on.http.get("/oauth/callback", params={"state": state, "error": "<b>access_denied</b>"})

    assert page.status_code == 400
    assert "crm is not connected: the other system says &lt;b&gt;access_denied" in page.text


async def test_a_code_of_another_browser_is_refused_by_its_verifier(server: OAuthServer) -> None:
    async with platform(server) as on:
        stolen = query_of(server.consent(await asked(on)))["code"]
        state = query_of(await asked(on))["state"]
        page = await on.http.get("/oauth/callback", params={"state": state, "code": stolen})

    assert (page.status_code, "invalid_grant" in page.text) == (502, True)


async def test_nothing_secret_is_in_the_log_or_the_answers(
    server: OAuthServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="ipaas")
    async with platform(server) as on:
        sent_back = server.consent(await asked(on))
        page = await on.http.get(sent_back)
        await on.http.get(sent_back)
    ours = "\n".join(str(record.__dict__) for record in caplog.records if record.name.startswith("ipaas"))

    for secret in (query_of(sent_back)["code"], query_of(sent_back)["state"], server.tokens[0].access_token):
        assert secret not in ours + page.text


async def test_connecting_needs_the_token_that_may_write_and_a_credential(server: OAuthServer) -> None:
    async with platform(server) as on:
        assert (await on.http.post("/api/credentials/crm/connect")).status_code == 401
        missing = await on.http.post("/api/credentials/none/connect", headers=TOKEN)
    assert (missing.status_code, "'none' of type oauth2 does not exist" in missing.text) == (409, True)
    async with platform(server, grant="client_credentials") as on:
        nobody = await on.http.post("/api/credentials/crm/connect", headers=TOKEN)
    assert (nobody.status_code, "nobody's consent is asked" in nobody.text) == (409, True)


@asynccontextmanager
async def by_device(server: OAuthServer) -> AsyncIterator[tuple[Connecting, FreshCredentials, MemoryTokens]]:
    clock, masker, tokens, ring = SystemClock(), Masker(), MemoryTokens(), Keyring.generate()
    source = MemoryCredentials({"crm": server.credential(grant="device_code")}, masker=masker, keyring=ring)
    async with new_client() as http:
        asking = TokenServer(http, clock=clock, masker=masker)
        fresh = FreshCredentials(source, tokens, http, clock=clock, masker=masker)
        yield Connecting(source, tokens, asking, ring, clock, gateway="http://gateway.test"), fresh, tokens


async def test_a_device_code_that_is_typed_in_elsewhere_connects_it(server: OAuthServer) -> None:
    async with by_device(server) as (connecting, fresh, tokens):
        device = await connecting.device("crm")
        assert device.url == f"{server.url}/activate"
        waiting = asyncio.create_task(connecting.wait_for_device("crm", device, by="kim"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        server.decide(device.user_code)
        await waiting
        credential = await fresh.get("crm", OAuth2)

        state = await tokens.token(*CRM)
        assert state
        assert state.connected_by == "kim"
    answer = httpx.get(f"{server.url}/api/x", headers={"Authorization": f"Bearer {credential.access_token}"})
    assert answer.status_code == 200


async def test_a_device_code_that_is_turned_down_connects_nothing(server: OAuthServer) -> None:
    async with by_device(server) as (connecting, _, tokens):
        device = await connecting.device("crm")
        server.decide(device.user_code, approved=False)
        with pytest.raises(CredentialError, match="access_denied"):
            await connecting.wait_for_device("crm", device, by=None)
        assert await tokens.token(*CRM) is None


async def test_a_device_code_that_nobody_types_in_is_over(server: OAuthServer) -> None:
    async with by_device(server) as (connecting, _, _tokens):
        device = await connecting.device("crm")
        with pytest.raises(CredentialError, match="nobody typed the code in in time"):
            await connecting.wait_for_device("crm", replace(device, until=device.until - timedelta(hours=1)), by=None)
