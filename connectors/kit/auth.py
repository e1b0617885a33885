"""How a request proves who sends it: what of a credential goes where."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blocks.credential import Credential


@dataclass(frozen=True)
class Proof:
    """What is added to a request. Its headers are dropped when a redirect leads elsewhere."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


Auth = Callable[[Any], Proof]
"""Makes the proof of an opened credential of the type it is for."""


def bearer(secret: str) -> Auth:
    """`Authorization: Bearer`, with the credential's field `secret` (RFC 6750)."""
    return header("Authorization", secret, prefix="Bearer ")


def basic(user: str, password: str) -> Auth:
    """`Authorization: Basic`, with the credential's fields `user` and `password` (RFC 7617)."""

    def prove(credential: Credential) -> Proof:
        pair = f"{_value(credential, user)}:{_value(credential, password)}"
        return Proof(headers={"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"})

    return prove


def header(name: str, secret: str, *, prefix: str = "") -> Auth:
    """A header of the vendor's own."""
    return lambda credential: Proof(headers={name: f"{prefix}{_value(credential, secret)}"})


def query(name: str, secret: str) -> Auth:
    """A parameter of the query."""
    return lambda credential: Proof(query={name: _value(credential, secret)})


def in_the_address(credential: Credential) -> Proof:
    """Nothing more: the address itself, made of the credential, is the secret."""
    return Proof()


def _value(credential: Credential, field: str) -> str:
    return credential.reveal(field) if field in credential.secret_fields() else str(getattr(credential, field))
