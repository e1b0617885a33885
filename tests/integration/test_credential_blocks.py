"""What Prefect's own server keeps and answers of a credential. Fails when a new Prefect stores secrets otherwise."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.testing.utilities import prefect_test_harness

from blocks import (
    ApiKey,
    BearerToken,
    Keyring,
    PrefectCredentials,
    WebhookSecret,
    delete_credential,
    list_credentials,
    load_credential,
    reseal_all,
    save_credential,
    use_keyring,
)
from connectors.slack import SlackCredential
from foundation.clock import ManualClock
from foundation.errors import CredentialError
from foundation.masking import Masker

OLD, NEW = b"o" * 32, b"n" * 32
RING = Keyring([OLD])


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(autouse=True)
def _ring() -> Iterator[None]:
    use_keyring(RING)
    yield
    use_keyring(None)


async def stored(name: str, slug: str) -> dict[str, Any]:
    """The document as the API gives it to someone who asks for the secrets."""
    async with get_client() as client:
        return (await client.read_block_document_by_name(name, slug, include_secrets=True)).data


async def typed_into_the_ui(name: str, slug: str, **data: Any) -> None:
    async with get_client() as client:
        document = await client.read_block_document_by_name(name, slug)
        await client.update_block_document(document.id, BlockDocumentUpdate(data=data))


async def test_a_saved_block_holds_only_sealed_text_and_loads_again() -> None:
    credential = WebhookSecret(secret="s3cret-1", previous=["s3cret-0"])
    await credential.save("by-hand")
    data = await stored("by-hand", "webhook-secret")
    assert Keyring.is_sealed(data["secret"])
    assert [Keyring.is_sealed(item) for item in data["previous"]] == [True]
    loaded = await WebhookSecret.load("by-hand")
    assert loaded.accepted("secret") == ["s3cret-1", "s3cret-0"]
    dispatched = await Block.load("webhook-secret/by-hand")
    assert isinstance(dispatched, WebhookSecret)


async def test_without_secrets_the_api_shows_not_even_the_sealed_text() -> None:
    await save_credential("hidden", WebhookSecret, {"secret": "s3cret-1", "previous": ["s3cret-0"]})
    async with get_client() as client:
        document = await client.read_block_document_by_name("hidden", "webhook-secret", include_secrets=False)
    assert "ipaas:v1" not in str(document.data)
    assert document.data["secret"] == "********"


async def test_a_placeholder_sent_back_by_the_ui_keeps_the_secrets() -> None:
    await save_credential("edited", ApiKey, {"key": "s3cret-1", "previous": ["s3cret-0"]})
    await typed_into_the_ui("edited", "api-key", key="********", previous="********", header="X-Other")
    credential = await load_credential("edited", ApiKey)
    assert (credential.header, credential.accepted("key")) == ("X-Other", ["s3cret-1", "s3cret-0"])


async def test_what_the_ui_stored_in_plaintext_is_sealed_when_it_is_used(caplog: pytest.LogCaptureFixture) -> None:
    await save_credential("typed", BearerToken, {"token": "first-1"})
    await typed_into_the_ui("typed", "bearer", token="s3cret-2", previous=["s3cret-1"])
    assert [item.unsealed for item in await list_credentials() if item.name == "typed"] == [("token", "previous")]
    with caplog.at_level(logging.WARNING):
        credential = await load_credential("typed", BearerToken)
    assert credential.accepted("token") == ["s3cret-2", "s3cret-1"]
    assert "s3cret" not in str(await stored("typed", "bearer"))
    assert "held token, previous unsealed" in caplog.text
    assert "s3cret" not in caplog.text


async def test_saving_again_replaces_every_value() -> None:
    await save_credential("again", BearerToken, {"token": "first-1", "previous": ["older-1"]})
    await save_credential("again", BearerToken, {"token": "second-1"})
    assert (await load_credential("again", BearerToken)).accepted("token") == ["second-1"]


async def test_the_list_shows_everything_but_values() -> None:
    await save_credential("listed", SlackCredential, {"token": "xoxb-1"})
    found = next(item for item in await list_credentials() if item.name == "listed")
    assert (found.type, found.key_ids, found.unsealed) == ("slack", tuple(RING.key_ids), ())
    assert found.created is not None
    assert found.updated is not None


async def test_a_missing_credential_says_how_to_make_it() -> None:
    with pytest.raises(
        CredentialError, match=r"'absent' of type slack does not exist: .*set absent --type slack"
    ) as caught:
        await load_credential("absent", SlackCredential)
    assert not caught.value.retriable


async def test_a_credential_of_another_type_is_named_as_such() -> None:
    await save_credential("other-type", BearerToken, {"token": "tok-1"})
    with pytest.raises(CredentialError, match="'other-type' is of type bearer, and type slack is needed"):
        await load_credential("other-type", SlackCredential)


async def test_a_deleted_credential_is_gone_and_an_ambiguous_name_needs_its_type() -> None:
    await save_credential("twice", BearerToken, {"token": "tok-1"})
    await save_credential("twice", SlackCredential, {"token": "xoxb-1"})
    with pytest.raises(CredentialError, match="types bearer, slack: say which"):
        await delete_credential("twice")
    await delete_credential("twice", SlackCredential)
    await delete_credential("twice")
    with pytest.raises(CredentialError, match="'twice' does not exist"):
        await delete_credential("twice")


async def test_after_resealing_the_old_key_is_not_needed() -> None:
    for item in await list_credentials():
        await delete_credential(item.name)
    await save_credential("rotated", WebhookSecret, {"secret": "s3cret-1", "previous": ["s3cret-0"]})
    assert await reseal_all(Keyring([NEW, OLD])) == 1
    assert await reseal_all(Keyring([NEW, OLD])) == 0
    credential = await load_credential("rotated", WebhookSecret, keyring=Keyring([NEW]))
    assert credential.accepted("secret") == ["s3cret-1", "s3cret-0"]
    with pytest.raises(CredentialError, match=r"credential 'rotated': webhook-secret\.secret was sealed with key"):
        await load_credential("rotated", WebhookSecret)
    with pytest.raises(CredentialError, match="0 sealed anew, 1 not: credential 'rotated'"):
        await reseal_all(Keyring.generate())


async def test_a_change_is_seen_after_the_ttl() -> None:
    clock = ManualClock()
    source = PrefectCredentials(masker=Masker(), clock=clock, ttl=5, patience=15)
    await save_credential("changing", BearerToken, {"token": "first-1"})
    assert (await source.get("changing", BearerToken)).reveal("token") == "first-1"
    await save_credential("changing", BearerToken, {"token": "second-1"})
    assert (await source.get("changing", BearerToken)).reveal("token") == "first-1"
    clock.move(seconds=5)
    assert (await source.get("changing", BearerToken)).reveal("token") == "second-1"


async def test_a_credential_deleted_meanwhile_is_not_served_from_the_cache() -> None:
    clock = ManualClock()
    source = PrefectCredentials(masker=Masker(), clock=clock, ttl=5, patience=15)
    await save_credential("leaving", BearerToken, {"token": "first-1"})
    await source.get("leaving", BearerToken)
    await delete_credential("leaving")
    clock.move(seconds=5)
    with pytest.raises(CredentialError, match="does not exist"):
        await source.get("leaving", BearerToken)
