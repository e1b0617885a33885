"""Where a sealed secret opens, on the Prefect server that we start: in its own place, and nowhere else."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect_client import prefect_client

from blocks import ApiKey, BearerToken, Credential, Keyring, WebhookSecret, load_credential, save_credential
from foundation.errors import CredentialError

RING = Keyring([b"o" * 32])
"""Its key is not the server's: what RING sealed passes the server's guard unopened, as it would a stock server."""


class Blocks:
    """Credentials on the server, as its API and a person in its UI see them."""

    def __init__(self, api: str, ring: Keyring) -> None:
        self.api, self.ring = api, ring

    def connect(self) -> PrefectClient:
        return prefect_client(self.api)

    async def make(self, kind: type[Credential], **values: Any) -> str:
        name = f"made-{uuid4().hex}"
        await save_credential(name, kind, values, keyring=self.ring, connect=self.connect)
        return name

    async def load(self, name: str, kind: type[Credential]) -> Credential:
        return await load_credential(name, kind, keyring=self.ring, connect=self.connect)

    async def data(self, name: str, kind: type[Credential]) -> dict[str, Any]:
        async with self.connect() as client:
            return (await client.read_block_document_by_name(name, kind.get_block_type_slug())).data

    async def post(self, kind: type[Credential], **data: Any) -> tuple[str, httpx.Response]:
        """A new document, as the UI's form sends it."""
        name = f"posted-{uuid4().hex}"
        async with self.connect() as client:
            await kind.register_type_and_schema(client=client)
            of_type = {"block_type_id": str(kind._block_type_id), "block_schema_id": str(kind._block_schema_id)}
        async with httpx.AsyncClient(base_url=self.api, trust_env=False, timeout=30) as http:
            return name, await http.post("/block_documents/", json={"name": name, "data": data} | of_type)

    async def patch(self, name: str, kind: type[Credential], **data: Any) -> httpx.Response:
        """A change, as the UI's form sends it."""
        async with self.connect() as client:
            document = await client.read_block_document_by_name(name, kind.get_block_type_slug())
        form = {"block_schema_id": str(document.block_schema_id), "data": data}
        async with httpx.AsyncClient(base_url=self.api, trust_env=False, timeout=30) as http:
            return await http.patch(f"/block_documents/{document.id}", json=form)


@pytest.fixture
def blocks(prefect_api: str) -> Blocks:
    """With keys that the server does not have."""
    return Blocks(prefect_api, RING)


@pytest.fixture
def guarded(prefect_server: Any) -> Blocks:
    """With the server's own keys."""
    return Blocks(prefect_server.url, Keyring.from_settings(prefect_server.settings))


async def test_sealed_text_copied_to_another_document_does_not_open(blocks: Blocks) -> None:
    sealed = (await blocks.data(await blocks.make(BearerToken, token="s3cret-1"), BearerToken))["token"]
    copy, answer = await blocks.post(BearerToken, token=sealed)
    assert answer.status_code == 201
    with pytest.raises(CredentialError, match="belongs to another credential"):
        await blocks.load(copy, BearerToken)


async def test_sealed_text_copied_to_another_type_or_field_does_not_open(blocks: Blocks) -> None:
    name = await blocks.make(BearerToken, token="s3cret-1", previous=["s3cret-0"])
    sealed = await blocks.data(name, BearerToken)
    await blocks.patch(name, BearerToken, token=sealed["previous"][0])
    with pytest.raises(CredentialError, match=r"bearer\.token can't be opened"):
        await blocks.load(name, BearerToken)
    other, _ = await blocks.post(WebhookSecret, secret=sealed["token"])
    with pytest.raises(CredentialError, match=r"webhook-secret\.secret can't be opened"):
        await blocks.load(other, WebhookSecret)


async def test_where_the_server_has_the_key_a_copy_is_not_even_stored(guarded: Blocks) -> None:
    sealed = (await guarded.data(await guarded.make(BearerToken, token="s3cret-1"), BearerToken))["token"]
    _, answer = await guarded.post(BearerToken, token=sealed)
    assert answer.status_code == 422
    assert "belongs to another credential" in answer.json()["detail"]
    assert "s3cret" not in answer.text


async def test_a_header_changed_without_the_secret_is_refused_with_the_reason(guarded: Blocks) -> None:
    name = await guarded.make(ApiKey, key="s3cret-1", header="X-Shop")
    answer = await guarded.patch(name, ApiKey, key="********", header="X-Elsewhere", previous=[])
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": f"credential {name!r}: header says where its secrets are sent: who changes it types key again"
    }
    credential = await guarded.load(name, ApiKey)
    assert (credential.header, credential.reveal("key")) == ("X-Shop", "s3cret-1")


async def test_a_header_changes_with_the_secret_typed_again(guarded: Blocks) -> None:
    name = await guarded.make(ApiKey, key="s3cret-1", header="X-Shop")
    assert (await guarded.patch(name, ApiKey, key="s3cret-2", header="X-Other", previous=[])).status_code == 204
    assert (await guarded.load(name, ApiKey)).reveal("key") == "s3cret-2"
    assert (await guarded.patch(name, ApiKey, key="********", header="X-Other", previous=["s3cret-1"])).is_success
    assert (await guarded.load(name, ApiKey)).accepted("key") == ["s3cret-2", "s3cret-1"]


async def test_a_header_changed_past_the_guard_does_not_get_the_secret(blocks: Blocks, guarded: Blocks) -> None:
    """As by someone who writes the database himself; here with sealed text that the guard has no key for."""
    name = await blocks.make(ApiKey, key="s3cret-1")
    other = await blocks.make(ApiKey, key="s3cret-2", header="X-Elsewhere")
    sealed = await blocks.data(other, ApiKey)
    assert (await blocks.patch(name, ApiKey, key=sealed["key"], header="X-Third")).status_code == 204
    with pytest.raises(CredentialError, match="or header was changed"):
        await blocks.load(name, ApiKey)


async def test_an_empty_previous_is_not_stored(guarded: Blocks) -> None:
    name, _ = await guarded.post(BearerToken, token="tok-1", previous=["", "tok-0"])
    assert len((await guarded.data(name, BearerToken))["previous"]) == 1
    await guarded.patch(name, BearerToken, previous=[""])
    assert (await guarded.load(name, BearerToken)).accepted("token") == ["tok-1"]
