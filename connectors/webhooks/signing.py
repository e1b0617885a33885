"""The sender's side: signs a request as a scheme's vendor would. For tests, demonstrations and senders of our own."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key

from connectors.webhooks.delivery import Delivery, Reading
from connectors.webhooks.scheme import Scheme
from connectors.webhooks.signature import key_of


def sign(
    scheme: Scheme,
    secret: str,
    body: bytes,
    now: datetime,
    *,
    method: str = "POST",
    url: str = "http://localhost/",
    headers: Mapping[str, str] | None = None,
    delivery_id: str | None = None,
) -> Delivery:
    """The request that the sender would make: `body`, with what the scheme puts in headers, body or URL.

    Args:
        secret: the credential's; for a public-key scheme the private key, written as the scheme writes the public one
            (32 bytes, or PKCS #8 for ecdsa).
        headers: those of the request itself, such as its `Content-Type`.
        delivery_id: the sender's id; a new one where the scheme has it in a header and none is given.
    """
    delivery = Delivery(
        method, url, [(k.encode("latin-1"), v.encode("utf-8")) for k, v in (headers or {}).items()], body
    )
    delivery = _with_body_hash(scheme, delivery)
    fields: dict[str, str] = {}
    if scheme.timestamp:
        delivery = _put(delivery, scheme.timestamp, _written(now, scheme), fields)
    place = next(iter(scheme.delivery), None)
    if place and (delivery_id is not None or place.startswith("header:") or "{delivery}" in scheme.signed[0]):
        delivery = _put(delivery, place, delivery_id or uuid4().hex, fields)
    listed = [f"{name}={value}" for name, value in fields.items()]
    if listed:  # so that what is signed can be read from the list before the signature is in it
        delivery = _put(delivery, scheme.signature, (scheme.separator or "").join(listed), {})
    message = Reading(scheme, delivery, None).message(scheme.signed[0]) if scheme.is_signed else b""
    signature = scheme.prefix + _encoded(scheme, _signature(scheme, secret, message))
    return _put(delivery, scheme.signature, (scheme.separator or "").join([*listed, signature]), {})


def _signature(scheme: Scheme, secret: str, message: bytes) -> bytes:
    key = key_of(scheme, secret)
    match scheme.style:
        case "token":
            return key
        case "hmac":
            return hmac.digest(key, message, scheme.algorithm)
        case "ed25519":
            return Ed25519PrivateKey.from_private_bytes(key).sign(message)
        case "ecdsa":
            private = load_der_private_key(key, password=None)
            if not isinstance(private, ec.EllipticCurvePrivateKey):
                raise ValueError("the key is not a P-256 private key")
            return private.sign(message, ec.ECDSA(SHA256()))


def _encoded(scheme: Scheme, signature: bytes) -> str:
    match scheme.encoding:
        case "hex":
            return signature.hex()
        case "base64":
            return b64encode(signature).decode()
        case "text":
            return signature.decode()


def _written(now: datetime, scheme: Scheme) -> str:
    if scheme.timestamp_unit == "iso":
        return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(int(now.timestamp() * (1000 if scheme.timestamp_unit == "ms" else 1)))


def _put(delivery: Delivery, source: str, value: str, fields: dict[str, str]) -> Delivery:
    """The delivery with the value at the source; a field of the signature is put into `fields` instead."""
    kind, _, name = source.partition(":")
    if kind == "header":
        others = [(key, old) for key, old in delivery.headers if key.lower() != name.lower().encode()]
        return replace(delivery, headers=[*others, (name.encode(), value.encode())])
    if kind == "query":
        joint = "&" if "?" in delivery.url else "?"
        return replace(delivery, url=f"{delivery.url}{joint}{urlencode({name: value})}")
    if kind == "field":
        fields[name] = value
        return delivery
    document: dict[str, Any] = json.loads(delivery.body)
    place = document
    *parents, last = name.split(".")
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return replace(delivery, body=json.dumps(document).encode())


def _with_body_hash(scheme: Scheme, delivery: Delivery) -> Delivery:
    """Twilio signs JSON by its hash in the URL."""
    is_json = (delivery.header("Content-Type") or b"").startswith(b"application/json")
    if not (is_json and any("{twilio-body}" in text for text in scheme.signed)):
        return delivery
    return _put(delivery, "query:bodySHA256", hashlib.sha256(delivery.body).hexdigest(), {})
