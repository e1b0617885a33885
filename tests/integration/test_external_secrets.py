"""Secrets that are kept elsewhere: in a real server of Vault's API, and in AWS by its documented HTTP API."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from vault_server import ROOT, VaultServer, vault_server

from blocks import BearerToken, MemoryCredentials
from connectors.kit.http_client import new_client
from connectors.kit.secrets.source import ExternalSecrets
from connectors.kit.secrets.store import Surroundings
from foundation.clock import ManualClock
from foundation.errors import CredentialError
from foundation.masking import MASK, Masker
from foundation.settings import AwsSettings, Settings, VaultSettings


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    with vault_server(tmp_path_factory.mktemp("vault")) as running:
        yield running


class Stage:
    def __init__(self, source: ExternalSecrets, clock: ManualClock, masker: Masker) -> None:
        self.source, self.clock, self.masker = source, clock, masker

    async def token(self) -> str:
        return (await self.source.get("crm", BearerToken)).reveal("token")


@asynccontextmanager
async def referring(
    reference: str, transport: httpx.AsyncBaseTransport | None = None, **settings: Any
) -> AsyncIterator[Stage]:
    clock, masker = ManualClock(), Masker()
    stored = MemoryCredentials({"crm": {"token": reference}}, masker=masker)
    async with new_client(transport) as http:
        around = Surroundings(Settings(_env_file=None, **settings), http, clock)  # type: ignore[call-arg]
        yield Stage(ExternalSecrets(stored, around), clock, masker)


def by_token(vault: VaultServer, token: str = ROOT) -> VaultSettings:
    return VaultSettings(url=vault.url, token=SecretStr(token))


async def test_a_secret_in_vault_is_read_when_it_is_used(vault: VaultServer) -> None:
    vault.put("crm/live", token="hunter2-hunter2", other="x")
    async with referring("vault:secret/crm/live#token", vault=by_token(vault)) as on:
        assert await on.token() == "hunter2-hunter2"
        assert on.masker.mask("it is hunter2-hunter2") == f"it is {MASK}"


async def test_an_app_role_logs_in_and_again_when_its_token_is_gone(vault: VaultServer) -> None:
    vault.put("role", token="first-secret")
    role, secret = vault.app_role()
    settings = VaultSettings(url=vault.url, role_id=role, secret_id=SecretStr(secret))
    async with referring("vault:secret/role#token", vault=settings) as on:
        assert await on.token() == "first-secret"
        for accessor in vault.ask("LIST", "auth/token/accessors")["data"]["keys"]:
            about = vault.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
            if about["path"] == "auth/approle/login":
                vault.ask("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        vault.put("role", token="second-secret")
        on.clock.move(seconds=301)
        assert await on.token() == "second-secret"


async def test_it_is_remembered_for_a_bounded_time(vault: VaultServer) -> None:
    vault.put("rotated", token="old-secret")
    async with referring("vault:secret/rotated#token", vault=by_token(vault), secrets_ttl=60) as on:
        await on.token()
        vault.put("rotated", token="new-secret")
        on.clock.move(seconds=50)
        assert await on.token() == "old-secret"
        on.clock.move(seconds=11)
        assert await on.token() == "new-secret"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("vault:secret/none#token", "Vault has nothing at secret/none"),
        ("vault:secret/there#tokn", "secret/there in Vault has no 'tokn'; it has token"),
        ("vault:secret", "write it as vault:MOUNT/PATH#FIELD"),
    ],
)
async def test_a_reference_that_leads_nowhere_says_where(vault: VaultServer, reference: str, said: str) -> None:
    vault.put("there", token="a-secret-there")
    async with referring(reference, vault=by_token(vault)) as on:
        with pytest.raises(CredentialError, match=said) as raised:
            await on.token()
    assert str(raised.value).startswith("credential 'crm': ")


async def test_a_token_that_may_not_read_is_told(vault: VaultServer) -> None:
    async with referring("vault:secret/there#token", vault=by_token(vault, "wrong")) as on:
        with pytest.raises(CredentialError, match=r"Vault answered 403 for secret/there: .*permission denied"):
            await on.token()


async def test_while_vault_is_away_what_it_said_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with vault_server(tmp_path) as vault:
        vault.put("crm", token="a-secret-in-vault")
        settings = by_token(vault)
    answers = iter([httpx.Response(200, json={"data": {"data": {"token": "a-secret-in-vault"}}})])
    transport = httpx.MockTransport(lambda request: next(answers, httpx.Response(503)))
    async with referring("vault:secret/crm#token", transport, vault=settings, secrets_ttl=60) as on:
        assert await on.token() == "a-secret-in-vault"
        on.clock.move(seconds=61)
        assert await on.token() == "a-secret-in-vault"
        on.clock.move(seconds=3600)
        with pytest.raises(CredentialError, match="answered 503") as raised:
            await on.token()
    assert raised.value.retriable
    assert "does not answer" in caplog.text
    assert "a-secret-in-vault" not in caplog.text


# AWS


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"ACCESS_KEY_ID": "AKIDEXAMPLE", "SECRET_ACCESS_KEY": "aws-secret"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


def secrets_manager(secrets: Mapping[str, str]) -> httpx.MockTransport:
    """AWS Secrets Manager as it is documented, which looks at the signature."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["x-amz-target"] == "secretsmanager.GetSecretValue"
        if not request.headers["authorization"].endswith(f"Signature={_signature(request)}"):
            return httpx.Response(400, json={"__type": "InvalidSignatureException", "message": "it does not match"})
        name = json.loads(request.content)["SecretId"]
        if name not in secrets:
            kind = "com.amazonaws.secretsmanager#ResourceNotFoundException"
            return httpx.Response(400, json={"__type": kind, "Message": "can't find the specified secret."})
        return httpx.Response(200, json={"Name": name, "SecretString": secrets[name]})

    return httpx.MockTransport(answer)


def _signature(request: httpx.Request) -> str:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
    when = request.headers["x-amz-date"]
    signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    lines = [f"{name}:{request.headers[name].strip()}" for name in signed.split(";")]
    digest = hashlib.sha256(request.content).hexdigest()
    canonical = "\n".join([request.method, request.url.path, "", *lines, "", signed, digest])
    scope = f"{when[:8]}/eu-central-1/secretsmanager/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", when, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4aws-secret"
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


async def from_aws(reference: str, secrets: Mapping[str, str]) -> str:
    region = AwsSettings(region="eu-central-1")
    async with referring(reference, secrets_manager(secrets), aws=region) as on:
        return await on.token()


async def test_a_secret_in_aws_is_its_text_or_one_key_of_its_json(aws: None) -> None:
    assert await from_aws("aws:live/crm", {"live/crm": "plain-secret"}) == "plain-secret"
    assert await from_aws("aws:live/crm#token", {"live/crm": '{"token": "in-json"}'}) == "in-json"
    arn = "arn:aws:secretsmanager:eu-central-1:1:secret:crm-AbCdEf"
    assert await from_aws(f"aws:{arn}#token", {arn: '{"token": "by-arn"}'}) == "by-arn"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("aws:none", "AWS answered 400 for none: ResourceNotFoundException can't find the specified secret"),
        ("aws:crm#tokn", "crm in AWS has no 'tokn'; it has token"),
        ("aws:text#token", "text in AWS is no JSON object: leave the #KEY out"),
    ],
)
async def test_what_aws_does_not_have_is_told(aws: None, reference: str, said: str) -> None:
    with pytest.raises(CredentialError, match=said):
        await from_aws(reference, {"crm": '{"token": "x"}', "text": "x"})


async def test_a_signature_that_is_wrong_is_told(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(CredentialError, match="InvalidSignatureException"):
        await from_aws("aws:crm", {"crm": "x"})
