"""The guard before Prefect's server: our blocks' secrets are sealed on their way in, nothing else is touched."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from blocks import Keyring
from ipaas.platform.sealing import SealSecrets

RING = Keyring([b"k" * 32])
OURS, OTHERS, DOCUMENT = "type-of-ours", "type-of-others", "document-1"


class Server:
    """Knows two block types and one document of ours; remembers what reached it."""

    def __init__(self) -> None:
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
            f"/api/block_documents/{DOCUMENT}": {"block_type_id": OURS},
        }.get(scope["path"])
        if scope["method"] != "GET":
            self.received.append((scope["method"], scope["path"], headers, bytes(body)))
        status = 200 if answer or scope["method"] != "GET" else 404
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
