"""Credentials of a real OAuth 2 server: their tokens are got, renewed once for many, and kept."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from oauth_server import SECRET, OAuthServer, Token, oauth_server

from blocks import Keyring, MemoryCredentials, MemoryTokens, OAuth2, TokenStore, add_key
from blocks.token_credential import Tokens
from connectors import http
from connectors.kit.call import Services, current_runner
from connectors.kit.direct import DirectRunner
from connectors.kit.fresh_tokens import FreshCredentials
from connectors.kit.http_client import new_client
from flows.history import HistoryStore, migrations, open_store
from foundation.clock import Clock, ManualClock, SystemClock
from foundation.errors import CredentialError, RemoteError
from foundation.masking import MASK, Masker
from foundation.settings import Settings
from ipaas.platform.keep_alive import KeepAlive

ALONE = {"grant": "client_credentials"}
RING = Keyring.generate()


@pytest.fixture(params=["sqlite", "postgres"])
def history_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url: str = f"sqlite:///{tmp_path / 'history.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    asyncio.run(migrations.upgrade(url))
    return url


@asynccontextmanager
async def history(url: str) -> AsyncIterator[HistoryStore]:
    store = open_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with oauth_server() as running:
        yield running


class Process:
    """What one worker process has: credentials of its own, and the history that all share."""

    def __init__(self, credentials: FreshCredentials, services: Services, masker: Masker) -> None:
        self.credentials, self.services, self.masker = credentials, services, masker

    async def call(self, server: OAuthServer, credential: str = "crm") -> Any:
        token = current_runner.set(DirectRunner(self.services))
        try:
            return await http.request(url=f"{server.url}/api/orders", credential=credential)
        finally:
            current_runner.reset(token)


@asynccontextmanager
async def process(
    credentials: Mapping[str, Any],
    tokens: TokenStore | None = None,
    *,
    keyring: Keyring = RING,
    clock: Clock | None = None,
    **options: Any,
) -> AsyncIterator[Process]:
    clock, masker = clock or SystemClock(), Masker()
    async with new_client() as client:
        source = MemoryCredentials(credentials, masker=masker, keyring=keyring)
        fresh = FreshCredentials(source, tokens or MemoryTokens(), client, clock=clock, masker=masker, **options)
        services = Services(client, fresh, clock, masker, render=lambda template, data: template)
        yield Process(fresh, services, masker)
        await fresh.close()


async def keep(
    tokens: TokenStore, token: Token, credential: Mapping[str, Any], *, left: float, ring: Keyring = RING
) -> None:
    """Stores the server's token as that of the credential `crm`."""
    sealed = Tokens(token.access_token, token.refresh_token or "").text()
    place = OAuth2.from_values(credential, document="crm", keyring=ring).token_place("crm")
    await tokens.connect_token("crm", "oauth2", ring.seal(sealed, place), expires_in=left, by="kim")


async def test_a_token_is_got_when_it_is_needed_and_used_again(server: OAuthServer) -> None:
    async with process({"crm": server.credential(**ALONE)}) as one:
        for _ in range(3):
            assert (await one.call(server))["status"] == 200

    assert server.asked == {"client_credentials": 1}


@pytest.mark.parametrize("way", ["basic", "body"])
async def test_the_client_proves_itself_as_the_vendor_wants(server: OAuthServer, way: str) -> None:
    async with process({"crm": server.credential(**ALONE, client_auth=way)}) as one:
        assert (await one.call(server))["status"] == 200


async def test_fifty_executions_over_an_expired_token_renew_it_once(server: OAuthServer, history_url: str) -> None:
    server.slow, credential = 0.2, server.credential()
    async with AsyncExitStack() as opened:
        stores = [await opened.enter_async_context(history(history_url)) for _ in range(5)]
        await keep(stores[0], server.seed(expires_in=0), credential, left=-1)
        workers = [await opened.enter_async_context(process({"crm": credential}, store)) for store in stores]
        answers = await asyncio.gather(*(workers[number % 5].call(server) for number in range(50)))

    assert {answer["status"] for answer in answers} == {200}
    assert server.asked == {"refresh_token": 1}
    assert server.served == {200: 50}


async def test_processes_of_their_own_renew_it_once(server: OAuthServer, history_url: str, tmp_path: Path) -> None:
    home = Settings(_env_file=None, home=tmp_path / "home")  # type: ignore[call-arg]
    ring, credential = Keyring.from_settings(home), server.credential()
    server.slow = 0.5
    async with history(history_url) as store:
        await keep(store, server.seed(expires_in=0), credential, left=-1, ring=ring)
    given = {"url": history_url, "home": str(home.home), "credential": credential, "api": f"{server.url}/api/x"}
    command = [sys.executable, str(Path(__file__).parent.parent / "oauth_worker.py"), json.dumps(given)]
    workers = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(3)]
    said = [(await worker.communicate())[0] for worker in workers]

    assert [json.loads(one) for one in said] == [[200] * 17] * 3
    assert (server.asked, server.served) == ({"refresh_token": 1}, {200: 51})


async def test_a_rotated_refresh_token_is_the_one_that_is_used_next(server: OAuthServer) -> None:
    clock, credential = ManualClock(datetime.now(UTC)), server.credential()
    tokens = MemoryTokens(clock)
    await keep(tokens, server.seed(expires_in=0), credential, left=-1)
    async with process({"crm": credential}, tokens, clock=clock) as one:
        for _ in range(3):
            assert (await one.call(server))["status"] == 200
            clock.move(hours=2)

    assert server.asked == {"refresh_token": 3}


async def test_a_refresh_token_that_one_has_already_begins_it(server: OAuthServer) -> None:
    seed, clock = server.seed(expires_in=0), ManualClock(datetime.now(UTC))
    credential = server.credential(refresh_token=seed.refresh_token)
    async with process({"crm": credential}, MemoryTokens(clock), clock=clock) as one:
        await one.call(server)
        clock.move(hours=2)
        await one.call(server)

    assert server.asked == {"refresh_token": 2}


async def test_a_token_that_is_nearly_over_is_renewed_before(server: OAuthServer) -> None:
    tokens, credential = MemoryTokens(), server.credential()
    await keep(tokens, server.seed(), credential, left=0.5)
    async with process({"crm": credential}, tokens) as one:
        await one.call(server)

    assert server.asked == {}  # a tenth of its time is left
    await keep(tokens, server.seed(), credential, left=30)
    clock = ManualClock(datetime.now(UTC))
    kept = MemoryTokens(clock)
    await keep(kept, server.seed(), credential, left=3600)
    clock.move(seconds=3550)
    async with process({"crm": credential}, kept, clock=clock) as one:
        await one.call(server)

    assert server.asked == {"refresh_token": 1}


async def test_while_it_is_renewed_others_use_the_old_one(server: OAuthServer) -> None:
    clock, credential = ManualClock(datetime.now(UTC)), server.credential()
    tokens = MemoryTokens(clock)
    await keep(tokens, server.seed(), credential, left=3600)
    clock.move(seconds=3550)
    assert await tokens.claim_token("crm", "oauth2", claim=60)  # by another process
    async with process({"crm": credential}, tokens, clock=clock) as one:
        assert (await one.call(server))["status"] == 200

    assert server.asked == {}


async def test_a_token_that_was_refused_is_renewed_though_it_should_be_good(server: OAuthServer) -> None:
    clock, credential = ManualClock(datetime.now(UTC)), server.credential()
    tokens = MemoryTokens(clock)
    await keep(tokens, server.seed(), credential, left=3600)
    clock.move(seconds=120)
    server.expire()
    async with process({"crm": credential}, tokens, clock=clock) as one:
        assert (await one.call(server))["status"] == 200

    assert (server.asked, server.served) == ({"refresh_token": 1}, {401: 1, 200: 1})


async def test_a_fresh_token_that_is_refused_is_not_renewed_again_and_again(server: OAuthServer) -> None:
    server.expires_in = 0  # the API takes none of them
    server.says_expires_in = False
    async with process({"crm": server.credential(**ALONE)}) as one:
        for _ in range(3):
            with pytest.raises(RemoteError, match="401"):
                await one.call(server)

    assert server.asked == {"client_credentials": 1}


async def test_a_server_that_is_away_is_not_hammered(server: OAuthServer, caplog: pytest.LogCaptureFixture) -> None:
    clock, credential = ManualClock(datetime.now(UTC)), server.credential(**ALONE)
    server.failing, tokens = 503, MemoryTokens(clock)
    async with process({"crm": credential}, tokens, clock=clock) as one, process({"crm": credential}, tokens) as other:
        for each in (one, other, one):
            with pytest.raises(CredentialError, match=r"answered 503.*tried again in") as raised:
                await each.call(server)
            assert raised.value.retriable
        assert server.asked == {"client_credentials": 1}
        pauses = []
        for _ in range(9):
            state = await tokens.token("crm", "oauth2")
            assert state
            pauses.append(state.retry_in)
            clock.move(seconds=state.retry_in + 1)
            with pytest.raises(CredentialError):
                await one.call(server)
        assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300]
        server.failing = None
        clock.move(seconds=301)
        assert (await one.call(server))["status"] == 200

    assert "credential 'crm': no new token" in caplog.text


async def test_what_is_refused_for_good_says_who_must_connect_it(
    server: OAuthServer, caplog: pytest.LogCaptureFixture
) -> None:
    tokens, credential = MemoryTokens(), server.credential()
    await keep(tokens, server.seed(expires_in=0), credential, left=-1)
    server.revoke()
    async with process({"crm": credential}, tokens) as one:
        for _ in range(3):
            with pytest.raises(CredentialError) as raised:
                await one.call(server)
            assert not raised.value.retriable
            assert "kim, who connected it, must do so again (`ipaas credentials connect crm`)" in str(raised.value)

    assert server.asked == {"refresh_token": 1}
    [alert] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "invalid_grant" in alert.getMessage()


async def test_a_credential_that_is_set_again_is_tried_at_once(server: OAuthServer) -> None:
    tokens = MemoryTokens()
    async with process({"crm": server.credential(**ALONE, client_secret="wrong")}, tokens) as one:
        with pytest.raises(CredentialError, match="invalid_client"):
            await one.call(server)
    async with process({"crm": server.credential(**ALONE)}, tokens) as one:
        assert (await one.call(server))["status"] == 200


async def test_nobody_has_connected_it(server: OAuthServer) -> None:
    async with process({"crm": server.credential()}) as one:
        with pytest.raises(CredentialError, match="nobody has connected it yet; connect it"):
            await one.call(server)


async def test_tokens_go_only_where_they_were_given_out_for(server: OAuthServer) -> None:
    """Who changes the address of a credential does not get the refresh token of the old one."""
    tokens, credential = MemoryTokens(), server.credential()
    await keep(tokens, server.seed(expires_in=0), credential, left=-1)
    elsewhere = {"crm": credential | {"token_url": "http://127.0.0.1:9/token"}}
    async with process(elsewhere, tokens) as one:
        with pytest.raises(CredentialError, match="nobody has connected it"):
            await one.call(server)


async def test_a_redirect_is_not_followed_with_the_secrets(server: OAuthServer) -> None:
    with oauth_server() as elsewhere:
        server.redirect_to = f"{elsewhere.url}/token"
        async with process({"crm": server.credential(**ALONE)}) as one:
            with pytest.raises(CredentialError, match="redirected"):
                await one.call(server)

    assert elsewhere.asked == {}


async def test_no_token_is_readable_in_the_history_or_the_log(
    server: OAuthServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url, credential = f"sqlite:///{tmp_path / 'history.db'}", server.credential()
    await migrations.upgrade(url)
    seed = server.seed(expires_in=0)
    async with history(url) as store:
        await keep(store, seed, credential, left=-1)
        async with process({"crm": credential}, store) as one:
            answer = await one.call(server)
            secrets = [SECRET, seed.refresh_token or ""]
            secrets += [text for token in server.tokens for text in (token.access_token, token.refresh_token or "")]
            assert all(one.masker.mask(secret) == MASK for secret in secrets if "seed" not in secret)
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    log = "\n".join(str(record.__dict__) for record in caplog.records if not record.name.startswith("authlib"))

    assert len(secrets) >= 5
    for secret in secrets:
        assert secret.encode() not in kept
        assert secret not in log
        assert secret not in str(answer)


async def test_a_caller_that_is_cancelled_loses_no_token(server: OAuthServer) -> None:
    server.slow, tokens, credential = 0.3, MemoryTokens(), server.credential()
    await keep(tokens, server.seed(expires_in=0), credential, left=-1)
    async with process({"crm": credential}, tokens) as one:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await one.call(server)
    async with process({"crm": credential}, tokens) as other:
        assert (await other.call(server))["status"] == 200

    assert server.asked == {"refresh_token": 1}


async def test_tokens_that_nobody_uses_are_kept_alive(server: OAuthServer) -> None:
    clock, credential = ManualClock(datetime.now(UTC)), server.credential()
    tokens = MemoryTokens(clock)
    await keep(tokens, server.seed(), credential, left=30 * 86_400)
    async with process({"crm": credential}, tokens, clock=clock) as one:
        assert await one.credentials.keep_alive("crm", OAuth2) is False
        clock.move(days=8)
        assert await one.credentials.keep_alive("crm", OAuth2) is True
        assert await one.credentials.keep_alive("crm", OAuth2) is False

    assert server.asked == {"refresh_token": 1}


async def test_keys_are_rotated_under_load_without_a_failed_call(server: OAuthServer, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]
    rings = [Keyring.from_settings(settings) for _ in range(3)]  # two workers', and the command's
    tokens, credential = MemoryTokens(), {"crm": server.credential(**ALONE)}
    async with (
        process(credential, tokens, keyring=rings[0]) as one,
        process(credential, tokens, keyring=rings[1]) as two,
    ):
        await one.call(server)

        async def load(worker: Process) -> list[int]:
            return [(await worker.call(server))["status"] for _ in range(25)]

        async def rotate() -> None:
            for _ in range(3):
                newest = add_key(settings)
                state = await tokens.token("crm", "oauth2")
                assert state
                assert state.sealed
                place = OAuth2.from_values(credential["crm"], document="crm", keyring=rings[2]).token_place("crm")
                after = rings[2].reseal(state.sealed, place)
                assert await tokens.reseal_token("crm", "oauth2", before=state.sealed, after=after)
                assert newest in after
                await asyncio.sleep(0.05)

        answers, others, _ = await asyncio.gather(load(one), load(two), rotate())

    assert {*answers, *others} == {200}
    assert server.asked == {"client_credentials": 1}


async def test_unused_tokens_are_looked_after_for_every_credential(server: OAuthServer) -> None:
    clock, credential = ManualClock(datetime.now(UTC)), server.credential()
    tokens = MemoryTokens(clock)
    await keep(tokens, server.seed(), credential, left=30 * 86_400)
    await tokens.connect_token("gone", "oauth2", "sealed", expires_in=None, by=None)
    async with process({"crm": credential}, tokens, clock=clock) as one:
        looking = KeepAlive(tokens, one.credentials)
        assert await looking.renew() == 0
        clock.move(days=8)
        assert await looking.renew() == 1
        assert await looking.renew() == 0
