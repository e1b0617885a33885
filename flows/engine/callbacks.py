"""The addresses that steps can be answered at: `/callbacks/{token}`, where the token says which step, and is signed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final, Protocol

_PURPOSE: Final = "callback"


class Signer(Protocol):
    """`blocks.Keyring` is one. A key that leaves the ring takes the addresses with it that it signed."""

    def sign(self, purpose: str, text: str) -> bytes: ...
    def has_signed(self, purpose: str, text: str, signature: bytes) -> bool: ...


class ProcessSigner:
    """Signs with a key that ends with the process: for runs that nobody outside of it answers."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def sign(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{purpose}:{text}".encode(), hashlib.sha256)

    def has_signed(self, purpose: str, text: str, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(purpose, text), signature)


class Callbacks:
    """
    Args:
        base_url: the gateway's.
    """

    def __init__(self, signer: Signer, base_url: str = "http://127.0.0.1:8080") -> None:
        self._signer, self._base_url = signer, base_url.rstrip("/")

    def url(self, kind: str, execution_id: str, path: str) -> str:
        """
        Args:
            kind: what the step wants: `callback` or `approval`.
        """
        named = f"{kind}:{execution_id}:{path}"
        token = f"{_encoded(named.encode())}.{_encoded(self._signer.sign(_PURPOSE, named))}"
        return f"{self._base_url}/callbacks/{token}"

    def read(self, token: str) -> tuple[str, str, str] | None:
        """The kind, the execution and the path of the step; None when the token is none of ours."""
        named, _, signature = token.partition(".")
        try:
            text, signed = _decoded(named).decode(), _decoded(signature)
        except (binascii.Error, ValueError):
            return None
        if not self._signer.has_signed(_PURPOSE, text, signed):
            return None
        kind, execution_id, path = text.split(":", 2)
        return kind, execution_id, path


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    """Raises ValueError, also when the text is not the one form of what it says."""
    value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encoded(value) != text:
        raise ValueError("another form")
    return value
