"""Credentials that running workflows use: kept for a while, and what is said when Prefect does not give them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import BlockDocumentCreate
from prefect_client import AWAY, prefect_client

from blocks import Keyring, PrefectCredentials, load_credential, save_credential
from blocks.sealed_text import Place
from connectors.slack import SlackCredential
from foundation.clock import ManualClock
from foundation.errors import CredentialError
from foundation.masking import MASK, Masker

RING = Keyring.generate()


class Connecting:
    """Opens clients of whatever API answers at `address` just now, and counts them."""

    def __init__(self, address: str) -> None:
        self.address, self.times = address, 0

    def __call__(self) -> PrefectClient:
        self.times += 1
        return prefect_client(self.address)


@pytest.fixture
def connecting(prefect_api: str) -> Connecting:
    return Connecting(prefect_api)


@pytest.fixture
async def name(prefect_api: str) -> str:
    """Of a Slack credential in Prefect, with the token `xoxb-1`."""
    name = f"slack-{uuid4().hex}"
    await save_credential(
        name, SlackCredential, {"token": "xoxb-1"}, keyring=RING, connect=lambda: prefect_client(prefect_api)
    )
    return name


def source(connecting: Connecting, clock: ManualClock, masker: Masker | None = None) -> PrefectCredentials:
    return PrefectCredentials(
        RING, masker=masker or Masker(), clock=clock, ttl=5, grace=60, patience=15, connect=connecting
    )


async def test_a_loaded_credential_is_open_and_its_secrets_are_masked(connecting: Connecting, name: str) -> None:
    masker = Masker()
    credential = await source(connecting, ManualClock(), masker).get(name, SlackCredential)
    assert masker.mask("xoxb-1") == MASK
    assert credential.reveal("token") == "xoxb-1"


async def test_callers_within_the_ttl_share_one_request(connecting: Connecting, name: str) -> None:
    clock = ManualClock()
    credentials = source(connecting, clock)
    first, second = await asyncio.gather(*(credentials.get(name, SlackCredential) for _ in range(2)))
    clock.move(seconds=4)
    assert await credentials.get(name, SlackCredential) is first is second
    assert connecting.times == 1
    credentials.forget()
    await credentials.get(name, SlackCredential)
    assert connecting.times == 2


async def test_while_prefect_is_down_a_known_credential_is_still_used(
    connecting: Connecting, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    credentials = source(connecting, clock)
    await credentials.get(name, SlackCredential)
    connecting.address = AWAY
    clock.move(seconds=30)
    with caplog.at_level(logging.WARNING):
        assert (await credentials.get(name, SlackCredential)).reveal("token") == "xoxb-1"
        await credentials.get(name, SlackCredential)
    assert connecting.times == 2
    assert "can't be reached" in caplog.text
    clock.move(seconds=30)
    with pytest.raises(CredentialError) as caught:
        await credentials.get(name, SlackCredential)
    assert caught.value.retriable


@contextmanager
def proxy_that_answers(status: int) -> Iterator[str]:
    """The address of a server before Prefect that lets nothing through."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/api"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "retriable"), [(500, True), (403, False)])
async def test_an_error_of_what_is_before_prefect_says_whether_it_may_pass(status: int, retriable: bool) -> None:
    with (
        proxy_that_answers(status) as address,
        pytest.raises(CredentialError, match=f"Prefect answered {status}") as caught,
    ):
        await source(Connecting(address), ManualClock()).get("team-slack", SlackCredential)
    assert caught.value.retriable is retriable


async def copied_in_prefect(connecting: Connecting, name: str, **data: Any) -> str:
    """The name of a document of the same type with `data`, as another tool may make it."""
    copy = f"{name}-copy"
    async with connecting() as client:
        document = await client.read_block_document_by_name(name, "slack")
        of_type = {"block_type_id": document.block_type_id, "block_schema_id": document.block_schema_id}
        await client.create_block_document(BlockDocumentCreate(name=copy, data=data, **of_type))
    return copy


async def test_a_stored_placeholder_is_a_lost_secret_and_said_so(connecting: Connecting, name: str) -> None:
    copy = await copied_in_prefect(connecting, name, token="********")
    with pytest.raises(CredentialError, match=rf"'{copy}': .* token: is a masked placeholder"):
        await load_credential(copy, SlackCredential, keyring=RING, connect=connecting)


async def test_fields_that_this_version_does_not_know_are_ignored(connecting: Connecting, name: str) -> None:
    token = RING.seal("xoxb-2", Place("slack", "token", f"{name}-copy"))
    copy = await copied_in_prefect(connecting, name, token=token, added_later="{}")
    credential = await load_credential(copy, SlackCredential, keyring=RING, connect=connecting)
    assert credential.reveal("token") == "xoxb-2"
