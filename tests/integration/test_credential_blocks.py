"""What Prefect's own server keeps and answers of a credential. Fails when a new Prefect stores secrets otherwise."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
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
from blocks.sealed_text import Sealed
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
    assert "ipaas:v2" not in str(document.data)
    assert document.data["secret"] == "********"


async def test_a_placeholder_sent_back_by_the_ui_keeps_the_secrets() -> None:
    await save_credential("edited", ApiKey, {"key": "s3cret-1", "header": "X-Own", "previous": ["s3cret-0"]})
    await typed_into_the_ui("edited", "api-key", key="********", previous="********", header="X-Own")
    credential = await load_credential("edited", ApiKey)
    assert (credential.header, credential.accepted("key")) == ("X-Own", ["s3cret-1", "s3cret-0"])


async def test_a_header_changed_where_nothing_guards_it_does_not_get_the_secret() -> None:
    await save_credential("diverted", ApiKey, {"key": "s3cret-1"})
    await typed_into_the_ui("diverted", "api-key", key="********", header="X-Elsewhere")
    with pytest.raises(CredentialError, match=r"'diverted': api-key\.key can't be opened: .* or header was changed"):
        await load_credential("diverted", ApiKey)
    with pytest.raises(CredentialError, match="header was changed"):
        (await ApiKey.load("diverted")).reveal("key")


async def test_a_loaded_block_is_not_saved_under_another_name() -> None:
    await save_credential("original", BearerToken, {"token": "tok-1"})
    loaded = await BearerToken.load("original")
    await loaded.save("original", overwrite=True)
    with pytest.raises(CredentialError, match="belongs to another credential"):
        await loaded.save("renamed")
    assert (await load_credential("original", BearerToken)).reveal("token") == "tok-1"


async def test_a_block_loaded_by_hand_opens_what_the_ui_stored_in_plaintext() -> None:
    await save_credential("by-hand-typed", BearerToken, {"token": "first-1"})
    await typed_into_the_ui("by-hand-typed", "bearer", token="s3cret-2")
    assert (await BearerToken.load("by-hand-typed")).reveal("token") == "s3cret-2"


async def test_an_anonymous_block_opens_again() -> None:
    document = await BearerToken(token="tok-1")._save(is_anonymous=True)
    async with get_client() as client:
        stored = await client.read_block_document(document, include_secrets=True)
    assert BearerToken._from_block_document(stored).reveal("token") == "tok-1"


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


def sealed_as_v1(text: str, slug: str, field: str) -> str:
    nonce = b"n" * 12
    ciphertext = AESGCM(OLD).encrypt(nonce, text.encode(), f"{slug}\0{field}".encode())
    return Sealed("1", RING.key_ids[0], nonce, ciphertext).text()


async def test_seals_of_the_older_form_open_and_are_made_new_by_a_rotation() -> None:
    for item in await list_credentials():
        await delete_credential(item.name)
    await save_credential("older", ApiKey, {"key": "new-1", "header": "X-Shop"})
    older = {field: [sealed_as_v1(f"s3cret-{field}", "api-key", field)] for field in ("key", "previous")}
    await typed_into_the_ui("older", "api-key", key=older["key"][0], previous=older["previous"])
    assert (await load_credential("older", ApiKey)).accepted("key") == ["s3cret-key", "s3cret-previous"]

    assert await reseal_all() == 1

    data = await stored("older", "api-key")
    assert [text[:9] for text in (data["key"], *data["previous"])] == ["ipaas:v2:"] * 2
    assert (await load_credential("older", ApiKey)).accepted("key") == ["s3cret-key", "s3cret-previous"]
    assert await reseal_all() == 0
    await typed_into_the_ui("older", "api-key", header="X-Elsewhere")
    with pytest.raises(CredentialError, match="or header was changed"):
        await load_credential("older", ApiKey)
