"""The guard before Prefect's API that seals the secrets of our credential blocks."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from blocks import BLOCK_TYPES, Keyring, seal_document_data

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


_OF_BODY = frozenset({b"accept-encoding", b"content-encoding", b"content-length", b"content-type"})


class SealSecrets:
    """Seals the secrets of our credential blocks before Prefect's API stores them.

    What a person types into the block form of Prefect's UI arrives in clear; it never gets further than here.
    """

    def __init__(self, app: App, keyring: Keyring) -> None:
        self._app, self._keyring = app, keyring
        self._slugs: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] not in ("POST", "PATCH")
            or "/block_documents" not in scope["path"]
            or scope["path"].rstrip("/").endswith(("/filter", "/count"))
        ):
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive)
        sealed = await self._seal(scope, body)
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        headers.append((b"content-length", str(len(sealed)).encode()))
        await self._app({**scope, "headers": headers}, _replay(sealed, receive), send)

    async def _seal(self, scope: Scope, body: bytes) -> bytes:
        try:
            document = json.loads(body)
            data = document["data"]
        except (ValueError, KeyError, TypeError):
            return body  # not a document: Prefect answers what is wrong with it
        slug = await self._slug(scope, document)
        if slug not in BLOCK_TYPES or not isinstance(data, dict):
            return body
        document["data"] = seal_document_data(slug, data, self._keyring)
        return json.dumps(document).encode()

    async def _slug(self, scope: Scope, document: dict[str, Any]) -> str | None:
        """The block type's slug of a document that is created (names its type) or updated (is named in the path)."""
        type_id = document.get("block_type_id")
        root = scope["path"].split("/block_documents")[0]
        if type_id is None:
            stored = await self._get(scope, f"{root}/block_documents/{scope['path'].rstrip('/').rsplit('/', 1)[-1]}")
            type_id = stored.get("block_type_id")
        if type_id is None:
            return None
        if str(type_id) not in self._slugs:
            block_type = await self._get(scope, f"{root}/block_types/{type_id}")
            if "slug" not in block_type:
                return None
            self._slugs[str(type_id)] = block_type["slug"]
        return self._slugs[str(type_id)]

    async def _get(self, scope: Scope, path: str) -> dict[str, Any]:
        """A GET of the wrapped application, as the same caller. An error answers as an empty document."""
        status, chunks = 0, bytearray()

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            chunks.extend(message.get("body", b""))

        # Of the caller's headers all but those of its body, and no leave to compress the answer.
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _OF_BODY]
        request = {**scope, "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
        request["headers"] = headers
        await self._app(request, _replay(b"", _never), send)
        document = json.loads(bytes(chunks)) if status == 200 else {}
        return document if isinstance(document, dict) else {}


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, then: Receive) -> Receive:
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(messages, None) or await then()

    return receive


async def _never() -> Message:
    return {"type": "http.disconnect"}
