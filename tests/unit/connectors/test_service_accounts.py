"""Google service accounts and GitHub Apps: what they sign, and the tokens they get for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from blocks import Keyring, MemoryCredentials, MemoryTokens
from connectors import http
from connectors.kit.call import Services, current_runner
from connectors.kit.direct import DirectRunner
from connectors.kit.fresh_tokens import FreshCredentials
from connectors.kit.http_client import new_client
from foundation.clock import ManualClock
from foundation.errors import CredentialError
from foundation.masking import MASK, Masker

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
GOOGLE_KEY = {"client_email": "bot@x.example", "private_key": PEM, "token_uri": "https://oauth2.example/token"}
GOOGLE = {"key": json.dumps(GOOGLE_KEY), "scopes": ["https://www.googleapis.com/auth/drive"]}
GITHUB = {"app_id": "1234", "installation_id": "99", "private_key": PEM}

Answer = Callable[[httpx.Request], httpx.Response]


async def call(values: Mapping[str, Any], answer: Answer, *, times: int = 1) -> tuple[list[httpx.Request], Masker]:
    """Calls an API `times`, an hour apart; the requests for tokens."""
    clock, masker, asked, served = ManualClock(), Masker(), [], []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.host == "api.example":
            served.append(request.headers["authorization"])
            return httpx.Response(200)
        asked.append(request)
        return answer(request)

    async with new_client(httpx.MockTransport(handle)) as client:
        stored = MemoryCredentials({"bot": values}, masker=masker, keyring=RING)
        fresh = FreshCredentials(stored, MemoryTokens(clock), client, clock=clock, masker=masker)
        services = Services(client, fresh, clock, masker, render=lambda template, data: template)
        token = current_runner.set(DirectRunner(services))
        try:
            for _ in range(times):
                await http.request(url="https://api.example/x", credential="bot")
                clock.move(hours=1)
        finally:
            current_runner.reset(token)
    assert set(served) == {"Bearer token-123456"}
    return asked, masker


RING = Keyring.generate()


def claims(text: str, audience: str | None = None) -> dict[str, Any]:
    """What was signed, if it was signed with the key."""
    past = {"verify_exp": False, "verify_iat": False}
    found: dict[str, Any] = jwt.decode(text, KEY.public_key(), ["RS256"], audience=audience, options=past)
    return found


def of_google(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"access_token": "token-123456", "expires_in": 3599, "token_type": "Bearer"})


async def test_a_google_service_account_signs_an_assertion() -> None:
    [asked], masker = await call(GOOGLE | {"subject": "kim@x.example"}, of_google)

    form = {name: value for name, [value] in parse_qs(asked.content.decode()).items()}
    assert str(asked.url) == "https://oauth2.example/token"
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert claims(form["assertion"], "https://oauth2.example/token") == {
        "iss": "bot@x.example",
        "sub": "kim@x.example",
        "scope": "https://www.googleapis.com/auth/drive",
        "aud": "https://oauth2.example/token",
        "iat": 1767225600,
        "exp": 1767229200,
    }
    assert masker.mask("token-123456") == MASK


async def test_a_server_that_says_what_it_was_sent_tells_no_secret() -> None:
    def says_it(request: httpx.Request) -> httpx.Response:
        [sent] = parse_qs(request.content.decode())["assertion"]
        return httpx.Response(400, json={"error": "invalid_grant", "error_description": f"{sent} is too old"})

    with pytest.raises(CredentialError, match=r"answered 400: \*+ is too old \(invalid_grant\)"):
        await call(GOOGLE, says_it)


async def test_it_asks_anew_before_the_token_is_over() -> None:
    asked, _ = await call(GOOGLE, of_google, times=3)

    assert len(asked) == 3


async def test_a_github_app_gets_the_token_of_its_installation() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, json={"token": "token-123456", "expires_at": "2026-01-01T01:00:00Z"})

    [asked], _ = await call(GITHUB, answer)

    assert str(asked.url) == "https://api.github.com/app/installations/99/access_tokens"
    proof = asked.headers["authorization"].removeprefix("Bearer ")
    assert claims(proof) == {"iss": "1234", "iat": 1767225600 - 60, "exp": 1767225600 + 540}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (GOOGLE | {"key": "{}"}, "key is not the JSON text of a service account's key"),
        (GOOGLE | {"key": json.dumps(GOOGLE_KEY | {"private_key": "x"})}, "not an RSA key in PEM form"),
        (GOOGLE | {"key": json.dumps(GOOGLE_KEY | {"token_uri": "http://x.example"})}, "must begin with https://"),
        (GITHUB | {"private_key": "x"}, "not an RSA key in PEM form"),
        (GITHUB | {"base_url": "http://ghe.example"}, "base_url: must begin with https://"),
    ],
)
async def test_a_key_that_is_none_is_told(values: Mapping[str, Any], said: str) -> None:
    with pytest.raises(CredentialError, match=said):
        await call(values, of_google)
