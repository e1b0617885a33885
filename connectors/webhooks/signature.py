"""Keys and signatures: whether one signature is right for one message under one secret."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Callable, Sequence
from functools import partial

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from connectors.webhooks.scheme import Encoding, Scheme


def decode(text: bytes, encoding: Encoding) -> bytes:
    """Raises ValueError on anything that is not exactly that encoding."""
    match encoding:
        case "hex":
            return binascii.unhexlify(text)
        case "base64":
            return b64decode(text, validate=True)
        case "text":
            return text


def key_of(scheme: Scheme, secret: str) -> bytes:
    """The secret as a key. Raises ValueError if it can't be one; an empty key would let everyone sign."""
    text = secret.removeprefix(scheme.key_prefix).encode("utf-8")
    key = text if scheme.key == "utf8" else decode(text, scheme.key)
    if not key:
        raise ValueError("the secret is empty")
    return key


def any_is_right(scheme: Scheme, key: bytes, message: bytes, signatures: Sequence[bytes]) -> bool:
    """Whether one of them is the message's, or, for a token, the key itself. Raises ValueError on a bad key."""
    match scheme.style:
        case "token":
            return _any_equals(key, signatures)
        case "hmac":
            return _any_equals(hmac.digest(key, message, scheme.algorithm), signatures)
        case "ed25519":
            verify = Ed25519PublicKey.from_public_bytes(key).verify
        case "ecdsa":
            verify = partial(_p256_key(key).verify, signature_algorithm=ec.ECDSA(SHA256()))
    return any(_is_verified(verify, signature, message) for signature in signatures)


def _any_equals(expected: bytes, signatures: Sequence[bytes]) -> bool:
    equal = [hmac.compare_digest(expected, signature) for signature in signatures]
    return any(equal)


def _p256_key(key: bytes) -> ec.EllipticCurvePublicKey:
    try:
        public = load_der_public_key(key)
    except UnsupportedAlgorithm as fault:
        raise ValueError("not a P-256 public key") from fault
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise ValueError("not a P-256 public key")
    return public


def _is_verified(verify: Callable[[bytes, bytes], None], signature: bytes, message: bytes) -> bool:
    try:
        verify(signature, message)
    except InvalidSignature:
        return False
    return True
