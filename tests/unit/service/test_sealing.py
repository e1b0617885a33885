"""The guard before Prefect's server: our blocks' secrets are sealed on their way in, nothing else is touched."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blocks import ApiKey, Keyring, seal_document_data
from blocks.document_data import reseal_document_data
from blocks.sealed_text import Place, Sealed
from ipaas.platform.sealing import SealSecrets

RING = Keyring([b"k" * 32])
OURS, OTHERS, DOCUMENT = "type-of-ours", "type-of-others", "document-1"
KEYS = "type-of-keys"


class Server:
    """Knows two block types and one document of ours; remembers what reached it."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.fails = False
        self.received: list[tuple[str, str, dict[str, str], bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = bytearray()
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        answer: Any = {
            f"/api/block_types/{OURS}": {"slug": "bearer"},
            f"/api/block_types/{OTHERS}": {"slug": "secret"},
            f"/api/block_types/{KEYS}": {"slug": "api-key"},
            f"/api/block_documents/{DOCUMENT}": {"block_type_id": OURS, "name": "team"},
            **self.documents,
        }.get(scope["path"].rstrip("/"))
        if scope["method"] != "GET":
            self.received.append((scope["method"], scope["path"], headers, bytes(body)))
        status = 500 if self.fails else 200 if answer or scope["method"] != "GET" else 404
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer or {}).encode()})


@pytest.fixture
def server() -> Server:
    return Server()


async def sent(server: Server, method: str, path: str, **given: Any) -> bytes:
    """What of a request's body reaches the server."""
    transport = httpx.ASGITransport(SealSecrets(server, RING))
    async with httpx.AsyncClient(transport=transport, base_url="http://prefect.test") as http:
        await http.request(method, path, **given)
    [(_, _, headers, body)] = server.received
    assert int(headers.get("content-length", len(body))) == len(body)
    return body


async def test_a_new_block_of_ours_is_sealed(server: Server) -> None:
    form = {"name": "team", "block_type_id": OURS, "data": {"token": "s3cret", "previous": ["older-s3cret"]}}

    document = json.loads(await sent(server, "POST", "/api/block_documents/", json=form))

    assert Keyring.is_sealed(document["data"]["token"])
    assert Keyring.is_sealed(document["data"]["previous"][0])
    assert {key: value for key, value in document.items() if key != "data"} == {"name": "team", "block_type_id": OURS}


@pytest.mark.parametrize("path", [f"/api/block_documents/{DOCUMENT}", f"/api/block_documents/{DOCUMENT}/"])
async def test_a_change_of_a_block_of_ours_is_sealed(server: Server, path: str) -> None:
    document = json.loads(await sent(server, "PATCH", path, json={"data": {"token": "s3cret"}}))

    assert Keyring.is_sealed(document["data"]["token"])


async def test_what_the_ui_shows_in_place_of_a_secret_is_kept(server: Server) -> None:
    form = {"block_type_id": OURS, "data": {"token": "********"}}

    document = json.loads(await sent(server, "POST", "/api/block_documents/", json=form))

    assert document == form


@pytest.mark.parametrize(
    ("method", "path", "given"),
    [
        ("POST", "/api/block_documents/", {"json": {"block_type_id": OTHERS, "data": {"value": "theirs"}}}),
        ("POST", "/api/block_documents/", {"json": {"block_type_id": "unknown", "data": {"token": "x"}}}),
        ("POST", "/api/block_documents/", {"json": {"block_type_id": OURS, "data": "no object"}}),
        ("POST", "/api/block_documents/", {"json": ["no document"]}),
        ("POST", "/api/block_documents/", {"content": b"no JSON"}),
        ("PATCH", "/api/block_documents/unknown", {"json": {"data": {"token": "x"}}}),
        ("POST", "/api/block_documents/filter", {"json": {"block_type_id": OURS, "data": {"token": "x"}}}),
        ("POST", "/api/flow_runs/filter", {"json": {"block_type_id": OURS, "data": {"token": "x"}}}),
        ("DELETE", f"/api/block_documents/{DOCUMENT}", {"json": {"data": {"token": "x"}}}),
    ],
)
async def test_everything_else_passes_as_it_is(server: Server, method: str, path: str, given: dict[str, Any]) -> None:
    expected = httpx.Request(method, "http://prefect.test", **given).content

    assert json_or_text(await sent(server, method, path, **given)) == json_or_text(expected)


def json_or_text(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


SHOP = "/api/block_documents/shop-1"


@pytest.fixture
def shop(server: Server) -> dict[str, Any]:
    """The stored data of an API key called `shop`."""
    given = {"key": "s3cret-1", "header": "X-Shop", "previous": ["s3cret-0"]}
    data = seal_document_data("api-key", given, RING, document="shop")
    server.documents[SHOP] = {"block_type_id": KEYS, "name": "shop", "data": data}
    return data


async def refused(server: Server, method: str, path: str, form: dict[str, Any]) -> str:
    """The reason; nothing reached the server."""
    transport = httpx.ASGITransport(SealSecrets(server, RING))
    async with httpx.AsyncClient(transport=transport, base_url="http://prefect.test") as http:
        answer = await http.request(method, path, json=form)
    assert (answer.status_code, server.received) == (422, [])
    reason: str = answer.json()["detail"]
    return reason


def becomes(stored: dict[str, Any], body: bytes) -> ApiKey:
    """The credential that Prefect makes of the stored data and the request."""
    given = {field: value for field, value in json.loads(body)["data"].items() if value != "********"}
    return ApiKey.from_values(stored | given, document="shop", keyring=RING)


@pytest.mark.parametrize(
    "data",
    [
        {"header": "X-Elsewhere"},
        {"header": "X-Elsewhere", "key": "********", "previous": "********"},
        {"header": None, "key": "********", "previous": []},
        {"header": "X-API-Key", "key": "s3cret-2"},
    ],
)
async def test_a_secret_is_typed_again_when_it_goes_elsewhere(server: Server, shop: dict, data: dict) -> None:
    reason = await refused(server, "PATCH", SHOP, {"data": data})
    assert reason.startswith("credential 'shop': header says where its secrets are sent: who changes it types ")
    assert reason.endswith("again")


async def test_the_sealed_text_sent_back_is_not_the_secret_typed_again(server: Server, shop: dict) -> None:
    form = {"data": shop | {"header": "X-Elsewhere"}, "merge_existing_data": False}
    assert "types key and previous again" in await refused(server, "PATCH", SHOP, form)


async def test_a_header_changes_with_its_secrets(server: Server, shop: dict) -> None:
    form = {"data": {"header": "X-Other", "key": "s3cret-2", "previous": []}}
    credential = becomes(shop, await sent(server, "PATCH", SHOP, json=form))
    assert (credential.header, credential.accepted("key")) == ("X-Other", ["s3cret-2"])


async def test_a_secret_that_is_typed_alone_is_sealed_for_the_stored_header(server: Server, shop: dict) -> None:
    form = {"data": {"key": "s3cret-2", "previous": "********"}}
    credential = becomes(shop, await sent(server, "PATCH", SHOP, json=form))
    assert (credential.header, credential.accepted("key")) == ("X-Shop", ["s3cret-2", "s3cret-0"])


async def test_what_replaces_all_data_is_sealed_for_what_it_says(server: Server, shop: dict) -> None:
    form = {"data": {"key": "s3cret-2"}, "merge_existing_data": False}
    credential = becomes({}, await sent(server, "PATCH", SHOP, json=form))
    assert (credential.header, credential.reveal("key")) == ("X-API-Key", "s3cret-2")


async def test_sealed_text_of_another_document_is_refused(server: Server, shop: dict) -> None:
    form = {"name": "mine", "block_type_id": KEYS, "data": {"key": shop["key"], "header": "X-Shop"}}
    assert "belongs to another credential" in await refused(server, "POST", "/api/block_documents/", form)


async def test_sealed_text_of_the_older_form_is_not_taken_in(server: Server) -> None:
    older = f"ipaas:v1:{RING.key_ids[0]}:{'A' * 60}"
    form = {"name": "mine", "block_type_id": OURS, "data": {"token": older}}
    assert "sealed by an older version" in await refused(server, "POST", "/api/block_documents/", form)


def sealed_as_v1(text: str) -> str:
    nonce = b"n" * 12
    ciphertext = AESGCM(b"k" * 32).encrypt(nonce, text.encode(), b"api-key\0key")
    return Sealed("1", RING.key_ids[0], nonce, ciphertext).text()


async def test_a_stored_seal_of_the_older_form_is_kept_and_rotated(server: Server) -> None:
    stored = {"key": sealed_as_v1("s3cret-1"), "header": "X-Shop", "previous": []}
    server.documents[SHOP] = {"block_type_id": KEYS, "name": "shop", "data": stored}
    assert "types key again" in await refused(server, "PATCH", SHOP, {"data": {"header": "X-Elsewhere"}})
    await sent(server, "PATCH", SHOP, json={"data": {"previous": ["older-1"], "key": stored["key"]}})
    server.received.clear()
    rotated = reseal_document_data("api-key", stored, RING, document="shop")
    body = await sent(server, "PATCH", SHOP, json={"data": {"key": rotated["key"]}})
    assert becomes(stored, body).reveal("key") == "s3cret-1"


async def test_sealed_text_of_a_key_that_is_not_here_passes(server: Server) -> None:
    other = Keyring.generate().seal("s3cret", Place("bearer", "token", "mine"))
    form = {"name": "mine", "block_type_id": OURS, "data": {"token": other}}
    assert json.loads(await sent(server, "POST", "/api/block_documents/", json=form)) == form


async def test_no_empty_previous_is_stored(server: Server) -> None:
    form = {"name": "team", "block_type_id": OURS, "data": {"token": "s3cret", "previous": ["", "********"]}}
    assert json.loads(await sent(server, "POST", "/api/block_documents/", json=form))["data"]["previous"] == []


async def test_an_anonymous_block_is_named_before_it_is_sealed(server: Server) -> None:
    form = {"is_anonymous": True, "block_type_id": OURS, "data": {"token": "s3cret"}}
    document = json.loads(await sent(server, "POST", "/api/block_documents/", json=form))
    assert document["name"].startswith("anonymous-")
    sealed = document["data"]["token"]
    assert RING.open(sealed, Place("bearer", "token", document["name"])) == "s3cret"


async def test_nothing_passes_whose_type_can_not_be_asked(server: Server) -> None:
    server.fails = True
    transport = httpx.ASGITransport(SealSecrets(server, RING))
    async with httpx.AsyncClient(transport=transport, base_url="http://prefect.test") as http:
        answer = await http.patch(SHOP, json={"data": {"key": "s3cret"}})
    assert (answer.status_code, server.received) == (503, [])
