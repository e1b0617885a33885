"""What a sealed value looks like, and the place it belongs in.

It is ASCII text, `ipaas:v2:<key id>:<base64url(nonce + ciphertext)>`. `ipaas:v1:…` is the older form, whose place is
the block type and field only: it still opens, and `Keyring.reseal` makes it v2.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Final, NamedTuple

from foundation.errors import CredentialError

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
PREFIX: Final = "ipaas:v2:"

_PLACEHOLDER = re.compile(r"\*{4,}")
_CLAIM = re.compile(r"ipaas:v[0-9]+:", re.ASCII)
_SEALED = re.compile(r"ipaas:v(?P<version>[12]):(?P<key_id>[0-9a-f]{8}):(?P<payload>[A-Za-z0-9_-]+)", re.ASCII)


@dataclass(frozen=True)
class Place:
    """Where a sealed value belongs; it opens nowhere else."""

    block_type: str
    field: str
    document: str = ""
    """The credential's name; "" for one that is not saved."""
    bound: Mapping[str, str | None] = dataclass_field(default_factory=dict)
    """The fields that say where the secret is sent (a header, an address), with their values; None for the type's
    default, so that the seals of a type still open when it gets such a field later."""

    def __str__(self) -> str:
        return f"{self.block_type}.{self.field}"

    def associated_data(self, version: str) -> bytes:
        """The place as AES-GCM authenticates it. None of v1 equals one of v2: no block type begins with a bracket."""
        if version == "1":
            return f"{self.block_type}\0{self.field}".encode()
        bound = {name: value for name, value in self.bound.items() if value is not None}
        return json.dumps([self.block_type, self.document, self.field, bound], sort_keys=True).encode()


class Sealed(NamedTuple):
    version: str
    key_id: str
    nonce: bytes
    ciphertext: bytes

    def text(self) -> str:
        payload = base64.urlsafe_b64encode(self.nonce + self.ciphertext).rstrip(b"=").decode()
        return f"ipaas:v{self.version}:{self.key_id}:{payload}"


def is_sealed(text: str) -> bool:
    """Whether `text` claims to be sealed. It may still be malformed: see `parse`."""
    return _CLAIM.match(text) is not None


def is_bound(text: str) -> bool:
    """Whether `text` claims to be sealed in the form that binds it to its credential, as v1 does not."""
    return text.startswith(PREFIX)


def is_placeholder(value: Any) -> bool:
    """Whether this is what Prefect or pydantic show instead of a secret."""
    return isinstance(value, str) and _PLACEHOLDER.fullmatch(value) is not None


def key_id_of(text: str) -> str | None:
    """The id of the key that sealed `text`; None when it is not sealed text."""
    match = _SEALED.fullmatch(text)
    return match["key_id"] if match else None


def parse(text: str, place: Place) -> Sealed:
    """Raises:
    CredentialError: `text` is not well-formed sealed text; the message names the place.
    """
    match = _SEALED.fullmatch(text)
    content = b""
    if match:
        payload = match["payload"]
        try:
            content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        except binascii.Error:
            content = b""
    if not match or len(content) < NONCE_BYTES + TAG_BYTES:
        raise CredentialError(f"{place} holds malformed sealed text; set the credential again")
    return Sealed(match["version"], match["key_id"], content[:NONCE_BYTES], content[NONCE_BYTES:])
