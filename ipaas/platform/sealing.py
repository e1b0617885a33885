"""The guard before Prefect's API that seals the secrets of our credential blocks."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final
from uuid import uuid4

from pydantic import TypeAdapter

from blocks import BLOCK_TYPES, Keyring, seal_document_data
from blocks.document_data import secret_texts
from blocks.sealed_text import Place, is_bound, is_placeholder, is_sealed
from connectors.kit.registry import load_connectors
from foundation.errors import CredentialError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


_BOOL: Final = TypeAdapter(bool)
_OF_BODY = frozenset({b"accept-encoding", b"content-encoding", b"content-length", b"content-type"})
_log = logging.getLogger("ipaas.credentials")


class Refused(Exception):
    """A document that is not taken: `status` and `reason` are the answer."""

    def __init__(self, reason: str, status: int = 422) -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


class SealSecrets:
    """Seals the secrets of our credential blocks before Prefect's API stores them.

    What a person types into the block form of Prefect's UI arrives in clear; it never gets further than here. A change
    that would send a secret elsewhere without its being typed again is refused.
    """

    def __init__(self, app: App, keyring: Keyring) -> None:
        load_connectors()  # a type that is not known would be stored as it was typed
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
        try:
            sealed = await self._seal(scope, body)
        except Refused as refused:
            _log.warning("a credential was not stored: %s", refused.reason)
            await _answer(send, refused)
            return
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        headers.append((b"content-length", str(len(sealed)).encode()))
        await self._app({**scope, "headers": headers}, _replay(sealed, receive), send)

    async def _seal(self, scope: Scope, body: bytes) -> bytes:
        """The body with its secrets sealed. Raises Refused."""
        try:
            document = json.loads(body)
            data = document["data"]
            merges = _BOOL.validate_python(document.get("merge_existing_data", True))
        except (ValueError, KeyError, TypeError, AttributeError):
            return body  # not a document: Prefect answers what is wrong with it
        root, _, document_id = scope["path"].rstrip("/").partition("/block_documents")
        stored: dict[str, Any] = {}
        if scope["method"] == "PATCH":
            stored = await self._get(scope, f"{root}/block_documents{document_id}", b"include_secrets=true")
        slug = await self._slug(scope, root, document.get("block_type_id") or stored.get("block_type_id"))
        if slug not in BLOCK_TYPES or not isinstance(data, dict):
            return body
        if not stored and not document.get("name") and document.get("is_anonymous"):
            document["name"] = f"anonymous-{uuid4()}"  # as Prefect would name it: its secrets are sealed for a name
        change = Change(slug, str(stored.get("name") or document.get("name") or ""), stored.get("data") or {})
        document["data"] = change.sealed(data, merges or not stored, self._keyring)
        return json.dumps(document).encode()

    async def _slug(self, scope: Scope, root: str, type_id: Any) -> str | None:
        """The block type's slug; None when there is no such type."""
        if type_id is None:
            return None
        if str(type_id) not in self._slugs:
            block_type = await self._get(scope, f"{root}/block_types/{type_id}")
            if "slug" not in block_type:
                return None
            self._slugs[str(type_id)] = block_type["slug"]
        return self._slugs[str(type_id)]

    async def _get(self, scope: Scope, path: str, query: bytes = b"") -> dict[str, Any]:
        """A GET of the wrapped application, as the same caller; an empty document when it is not there for him.

        Raises:
            Refused: the application failed. Nothing is let through whose type is not known.
        """
        status, chunks = 0, bytearray()

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            chunks.extend(message.get("body", b""))

        # Of the caller's headers all but those of its body, and no leave to compress the answer.
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _OF_BODY]
        request = {**scope, "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query}
        request["headers"] = headers
        await self._app(request, _replay(b"", _never), send)
        if status >= 500:
            raise Refused("the credential could not be looked up; try again", status=503)
        document = json.loads(bytes(chunks)) if status == 200 else {}
        return document if isinstance(document, dict) else {}


class Change:
    """What a request makes of a credential's document.

    Args:
        slug: the credential's type.
        name: the document's.
        stored: its data so far; empty for a new one.
    """

    def __init__(self, slug: str, name: str, stored: Mapping[str, Any]) -> None:
        self._slug, self._name, self._stored = slug, name, stored
        self._kind = BLOCK_TYPES[slug]

    def sealed(self, given: Mapping[str, Any], merges: bool, keyring: Keyring) -> dict[str, Any]:
        """The given data with its secrets sealed.

        Args:
            merges: whether the fields that are not given stay.

        Raises:
            Refused: a secret is neither typed anew nor sealed for what the document becomes.
        """
        becomes = {**self._stored, **given} if merges else dict(given)
        kept = [field for field in self._kind.secret_fields() if self._keeps(field, becomes)]
        for field in kept:
            becomes[field] = self._stored[field]
        self._check_destination(becomes, kept)
        self._check_seals(becomes, keyring)
        sealed = seal_document_data(self._slug, becomes, keyring, document=self._name)
        return {field: value if is_placeholder(value) else sealed[field] for field, value in given.items()}

    def _keeps(self, field: str, becomes: Mapping[str, Any]) -> bool:
        stored, value = self._stored.get(field), becomes.get(field)
        return bool(stored) and (is_placeholder(value) or value == stored)

    def _check_destination(self, becomes: Mapping[str, Any], kept: Sequence[str]) -> None:
        before, after = self._kind.bound_values(self._stored), self._kind.bound_values(becomes)
        changed = [name for name in after if self._stored and after[name] != before[name]]
        if changed and kept:
            raise Refused(
                f"credential {self._name!r}: {' and '.join(changed)} says where its secrets are sent: "
                f"who changes it types {' and '.join(kept)} again"
            )

    def _check_seals(self, becomes: Mapping[str, Any], keyring: Keyring) -> None:
        """What arrives sealed was sealed for this document, as far as this process has its key."""
        known = set(secret_texts(self._slug, self._stored))
        bound = self._kind.bound_values(becomes)
        for field, text in secret_texts(self._slug, becomes):
            if not is_sealed(text) or (field, text) in known:
                continue
            try:
                if not is_bound(text):
                    raise CredentialError(
                        f"{self._slug}.{field} was sealed by an older version; give the secret itself"
                    )
                if keyring.knows_key_of(text):
                    keyring.open(text, Place(self._slug, field, self._name, bound))
            except CredentialError as error:
                raise Refused(f"credential {self._name!r}: {error}") from None


async def _answer(send: Send, refused: Refused) -> None:
    """As Prefect's API says what is wrong."""
    content = json.dumps({"detail": refused.reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


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
