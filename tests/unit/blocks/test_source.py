"""Prefect is played at the HTTP boundary: what it answers, and that it does not."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient

from blocks import Keyring, ManualClock, Masker, PrefectCredentials, SlackCredential, load_credential, save_credential
from blocks.errors import CredentialError
from blocks.masking import MASK

RING = Keyring.generate()


class Prefect:
    """A Prefect API with one Slack credential, that can be down or answer with an error."""

    def __init__(self, token: str = "xoxb-1") -> None:
        self.data = {"token": RING.seal(token, block_type="slack", field="token")}
        self.down: type[Exception] | None = None
        self.status = 200
        self.asked = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        if "csrf" in request.url.path:
            return httpx.Response(422)
        self.asked += 1
        if self.down:
            raise self.down("down")
        if self.status != 200:
            return httpx.Response(self.status, json={"detail": "no"})
        ids = {"id": str(uuid4()), "block_schema_id": str(uuid4()), "block_type_id": str(uuid4())}
        return httpx.Response(200, json={"name": "team-slack", "data": self.data, "is_anonymous": False, **ids})

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[PrefectClient]:
        settings = {"transport": httpx.MockTransport(self.answer)}
        async with PrefectClient("http://prefect.test/api", httpx_settings=settings) as client:
            yield client


def source(prefect: Prefect, clock: ManualClock, masker: Masker | None = None) -> PrefectCredentials:
    return PrefectCredentials(RING, masker=masker or Masker(), clock=clock, ttl=5, grace=60, connect=prefect.connect)


async def test_a_loaded_credential_is_open_and_its_secrets_are_masked() -> None:
    masker = Masker()
    credential = await source(Prefect(), ManualClock(), masker).get("team-slack", SlackCredential)
    assert masker.mask("xoxb-1") == MASK
    assert credential.reveal("token") == "xoxb-1"


async def test_callers_within_the_ttl_share_one_request() -> None:
    prefect, clock = Prefect(), ManualClock()
    credentials = source(prefect, clock)
    first, second = await asyncio.gather(*(credentials.get("team-slack", SlackCredential) for _ in range(2)))
    clock.move(seconds=4)
    assert await credentials.get("team-slack", SlackCredential) is first is second
    assert prefect.asked == 1
    credentials.forget()
    await credentials.get("team-slack", SlackCredential)
    assert prefect.asked == 2


async def test_while_prefect_is_down_a_known_credential_is_still_used(caplog: pytest.LogCaptureFixture) -> None:
    prefect, clock = Prefect(), ManualClock()
    credentials = source(prefect, clock)
    await credentials.get("team-slack", SlackCredential)
    prefect.down = httpx.ConnectError
    clock.move(seconds=30)
    with caplog.at_level(logging.WARNING):
        assert (await credentials.get("team-slack", SlackCredential)).reveal("token") == "xoxb-1"
        await credentials.get("team-slack", SlackCredential)
    assert prefect.asked == 2
    assert "can't be reached" in caplog.text
    clock.move(seconds=30)
    with pytest.raises(CredentialError) as caught:
        await credentials.get("team-slack", SlackCredential)
    assert caught.value.retriable


@pytest.mark.parametrize(("status", "retriable"), [(500, True), (403, False)])
async def test_an_error_of_prefect_says_whether_it_may_pass(status: int, retriable: bool) -> None:
    prefect = Prefect()
    prefect.status = status
    with pytest.raises(CredentialError, match=f"Prefect answered {status}") as caught:
        await source(prefect, ManualClock()).get("team-slack", SlackCredential)
    assert caught.value.retriable is retriable


async def test_a_stored_placeholder_is_a_lost_secret_and_said_so() -> None:
    prefect = Prefect()
    prefect.data = {"token": "********"}
    with pytest.raises(CredentialError, match=r"'team-slack': .* token: is a masked placeholder"):
        await load_credential("team-slack", SlackCredential, keyring=RING, connect=prefect.connect)


async def test_fields_that_this_version_does_not_know_are_ignored() -> None:
    prefect = Prefect()
    prefect.data |= {"added_later": json.dumps({})}
    await load_credential("team-slack", SlackCredential, keyring=RING, connect=prefect.connect)


@pytest.mark.parametrize("name", ["Team-Slack", "team_slack", "", "-x", "a/b", "ä"])
async def test_a_name_that_prefect_would_not_take_is_refused_before_asking(name: str) -> None:
    prefect = Prefect()
    for asking in (
        load_credential(name, SlackCredential, keyring=RING, connect=prefect.connect),
        save_credential(name, SlackCredential, {"token": "xoxb-1"}, keyring=RING, connect=prefect.connect),
    ):
        with pytest.raises(CredentialError, match="use lowercase letters, digits and dashes"):
            await asking
    assert prefect.asked == 0
