"""Keys and signatures: whether one signature is right for one message under one secret."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode

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


def is_right(scheme: Scheme, key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the message's, or, for a token, the key itself. Raises ValueError on a bad key."""
    match scheme.style:
        case "token":
            return hmac.compare_digest(key, signature)
        case "hmac":
            return hmac.compare_digest(hmac.digest(key, message, scheme.algorithm), signature)
        case "ed25519":
            public = Ed25519PublicKey.from_public_bytes(key)
            try:
                public.verify(signature, message)
            except InvalidSignature:
                return False
        case "ecdsa":
            try:
                curve_key = load_der_public_key(key)
            except UnsupportedAlgorithm as fault:
                raise ValueError("not a P-256 public key") from fault
            if not isinstance(curve_key, ec.EllipticCurvePublicKey) or not isinstance(curve_key.curve, ec.SECP256R1):
                raise ValueError("not a P-256 public key")
            try:
                curve_key.verify(signature, message, ec.ECDSA(SHA256()))
            except InvalidSignature:
                return False
    return True
