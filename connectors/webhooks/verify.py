"""Whether a delivery is from who it says: one verifier for every scheme."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from connectors.webhooks.delivery import Delivery, Reading, malformed, spelled
from connectors.webhooks.handshake import Answer, handshake
from connectors.webhooks.scheme import Scheme
from connectors.webhooks.signature import any_is_right, decode, key_of
from foundation.errors import VerificationFailed

MAX_SIGNATURES = 16
"""A sender that changes its keys sends two or three; each costs a computation."""
MAX_ID_LENGTH = 255

_NUMBER = re.compile(rb"[1-9][0-9]*")
_ISO_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_UNIX_UNITS = {"s": 1.0, "ms": 0.001}


@dataclass(frozen=True)
class Verified:
    """A delivery that may be let in."""

    delivery_id: str | None = None
    """The sender's own id of it, printable ASCII of at most 255 characters; None when it sent none."""
    signature_hash: str | None = None
    """Tells signed deliveries apart: SHA-256, in hex, of what was signed. Unlike a hash of the signature or of the body
    it stays the same when a retry is signed with another of the secrets, or when anything is spelled otherwise that is
    not signed as it is spelled. None when only a token was sent."""
    answer: Answer | None = None
    """Set for a handshake: send it and store nothing."""


def verify(
    scheme: Scheme, delivery: Delivery, secrets: Sequence[str], now: datetime, public_url: str | None = None
) -> Verified:
    """Lets the delivery in, or says why not.

    Args:
        secrets: those accepted, the current one first (see `accepted_secrets`).
        now: timezone-aware.
        public_url: where senders reach this gateway (`IPAAS_PUBLIC_URL`); used by schemes that sign the URL.

    Raises:
        VerificationFailed: and nothing else, whatever was sent. Its message is for the operator, not for the sender.
    """
    greeting = scheme.handshake
    if greeting and not greeting.signed and (answer := handshake(scheme, delivery)):
        return Verified(answer=answer)
    reading = Reading(scheme, delivery, public_url)
    secret, covered = _proven(reading, secrets)
    _check_age(reading, now)
    if greeting and greeting.signed and (answer := handshake(scheme, delivery, secret)):
        return Verified(answer=answer)
    return Verified(
        delivery_id=_delivery_id(reading),
        signature_hash=None if covered is None else hashlib.sha256(covered).hexdigest(),
    )


def _proven(reading: Reading, secrets: Sequence[str]) -> tuple[str, bytes | None]:
    """The secret that the sender has shown to have, and the bytes it signed; None if it just sent the secret along."""
    scheme, failure = reading.scheme, None
    for secret in secrets:
        variant = next((v for v in scheme.variants if v.key_prefix and secret.startswith(v.key_prefix)), scheme)
        try:
            return secret, _covered_by(reading.through(variant), secret)
        except VerificationFailed as fault:
            failure = failure or fault
    raise failure or VerificationFailed(f"{scheme.name}: no secret to verify with", reason="mismatch")


def _covered_by(reading: Reading, secret: str) -> bytes | None:
    scheme = reading.scheme
    signatures = _signatures(reading)
    for message in [reading.message(text) for text in scheme.signed] if scheme.is_signed else [b""]:
        try:
            key = key_of(scheme, secret)
            is_proven = any_is_right(scheme, key, message, signatures)
        except ValueError:
            kind = "public key" if scheme.style in ("ed25519", "ecdsa") else "secret"
            raise VerificationFailed(
                f"{scheme.name}: the credential's {kind} is not {scheme.key} of the right form", reason="mismatch"
            ) from None
        if is_proven:
            return message if scheme.is_signed else None
    raise VerificationFailed(_mismatch(reading), reason="mismatch")


def _signatures(reading: Reading) -> list[bytes]:
    """Those that can be read; a sender may add ones of a kind that we don't know."""
    scheme, prefix = reading.scheme, reading.scheme.prefix.encode().lower()
    offered = [item[len(prefix) :].lstrip(b" ") for item in reading.items if item.lower().startswith(prefix)]
    if not offered:
        raise malformed(f"{scheme.name}: nothing in the {spelled(scheme.signature)} starts with {scheme.prefix!r}")
    if len(offered) > MAX_SIGNATURES:
        raise malformed(f"{scheme.name}: {len(offered)} signatures; at most {MAX_SIGNATURES} are looked at")
    readable = []
    for text in offered:
        with suppress(ValueError):
            readable.append(decode(text, scheme.encoding))
    if not readable:
        raise malformed(f"{scheme.name}: the signature is not {scheme.encoding}")
    return readable


def _mismatch(reading: Reading) -> str:
    scheme = reading.scheme
    if not scheme.is_signed:
        return f"{scheme.name}: it is not the credential's secret"
    if not scheme.covers_url:
        return f"{scheme.name}: the signature is not one by the credential's secret"
    seen = reading.url.partition("?")[0]
    origin = "from IPAAS_PUBLIC_URL" if reading.is_public else "as received, for IPAAS_PUBLIC_URL is not set"
    return f"{scheme.name}: the signature is not one by the credential's secret for the URL {seen} ({origin})"


def _check_age(reading: Reading, now: datetime) -> None:
    """A timestamp that was sent is read even where its age does not count: no other text may stand in its place."""
    scheme = reading.scheme
    if scheme.timestamp is None:
        return
    text = reading.required(scheme.timestamp) if scheme.tolerance else reading.value(scheme.timestamp)
    if text is None:
        return
    off = abs(now.timestamp() - _unix_time(text, scheme, now))
    if scheme.tolerance is not None and off > scheme.tolerance:
        raise VerificationFailed(
            f"{scheme.name}: the timestamp is {off:.0f} s off; {scheme.tolerance:g} s are allowed", reason="stale"
        )


def _unix_time(text: bytes, scheme: Scheme, now: datetime) -> float:
    """Seconds since 1970.

    One form only, so that the end of a timestamp is known where the body follows it without a separator: a number has
    as many digits as the present time has, an ISO 8601 time has its zone.
    """
    if scheme.timestamp_unit == "iso":
        try:
            if not _ISO_TIME.fullmatch(text):
                raise ValueError
            return datetime.fromisoformat(text.decode("ascii")).timestamp()
        except (ValueError, OverflowError):
            raise malformed(f"{scheme.name}: the timestamp is not an ISO 8601 time with a zone") from None
    unit = _UNIX_UNITS[scheme.timestamp_unit]
    digits = len(str(int(now.timestamp() / unit)))
    if not _NUMBER.fullmatch(text) or len(text) != digits:
        raise malformed(f"{scheme.name}: the timestamp is not a whole number of {digits} digits")
    return int(text) * unit


def _delivery_id(reading: Reading) -> str | None:
    value = next((found for source in reading.scheme.delivery if (found := _id_at(reading, source))), None)
    if value is None:
        return None
    if len(value) > MAX_ID_LENGTH or not all(0x21 <= byte <= 0x7E for byte in value):
        return "sha256:" + hashlib.sha256(value).hexdigest()
    return value.decode("ascii")


def _id_at(reading: Reading, source: str) -> bytes | None:
    try:
        return reading.value(source)
    except VerificationFailed:
        if not source.startswith("body:"):
            raise
        return None  # a genuine body need not be JSON, as Slack's commands are not: it just has no id
