"""Requests by which a sender asks whether a hook is ours: answered at once, never stored as events."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass

from connectors.webhooks.delivery import Delivery, Reading
from connectors.webhooks.scheme import Scheme
from connectors.webhooks.signature import key_of
from foundation.errors import VerificationFailed


@dataclass(frozen=True)
class Answer:
    """What to send back, with status 200."""

    body: bytes
    content_type: str


def handshake(scheme: Scheme, delivery: Delivery, secret: str = "") -> Answer | None:
    """The answer to a handshake; None if the delivery is not one. `verify` calls this at the right moment.

    Args:
        secret: the one that the handshake is signed with, if it is.

    Raises:
        VerificationFailed: it is a handshake, but lacks a value that the answer needs.
    """
    greeting = scheme.handshake
    if greeting is None or delivery.method != greeting.method:
        return None
    reading = Reading(scheme, delivery, None)
    try:
        asked = [
            hmac.compare_digest(reading.value(source) or b"", str(value).encode())
            for source, value in greeting.when.items()
        ]
    except VerificationFailed:
        return None  # what can't be read is no handshake; as an event it is judged like any other
    if not all(asked):
        return None
    if isinstance(greeting.answer, str):
        return Answer(reading.required(greeting.answer), "text/plain; charset=utf-8")
    content = {key: _content(reading, value, secret) for key, value in greeting.answer.items()}
    return Answer(json.dumps(content).encode(), "application/json")


def _content(reading: Reading, value: str | int, secret: str) -> str | int:
    if isinstance(value, int):
        return value
    source = value.removeprefix("hmac:")
    found = reading.required(source)
    if source == value:
        return found.decode("utf-8", "replace")
    return hmac.digest(key_of(reading.scheme, secret), found, reading.scheme.algorithm).hex()
