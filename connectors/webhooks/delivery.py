"""One inbound request, as it came, and the values that a scheme reads from it."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from connectors.webhooks.scheme import OF_ANY_TEXT, Scheme, parts
from foundation import large_json
from foundation.errors import VerificationFailed

MAX_FORM_FIELDS = 1_000
"""Twilio sends some dozens."""


def malformed(message: str) -> VerificationFailed:
    return VerificationFailed(message, reason="malformed")


def missing(message: str) -> VerificationFailed:
    return VerificationFailed(message, reason="missing")


def spelled(source: str) -> str:
    """A source for people: `header X-Signature`."""
    return source.replace(":", " ", 1)


@dataclass(frozen=True)
class Delivery:
    """A request as received: nothing decoded, nothing normalised.

    Args:
        url: absolute, with the path and query exactly as they stood in the request line.
        headers: as ASGI gives them; names in any case.
    """

    method: str
    url: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> bytes | None:
        """The header's value; None when it is missing or empty.

        Raises:
            VerificationFailed: it came more than once, so two readers could see different values.
        """
        wanted = name.lower().encode("latin-1", "replace")
        values = [value.strip(b" \t") for key, value in self.headers if key.lower() == wanted]
        if len(values) > 1:
            raise malformed(f"the header {name} came {len(values)} times")
        return values[0] or None if values else None

    @cached_property
    def target(self) -> str:
        """The path and query, as they stood in the request line."""
        rest = self.url.partition("://")[2] or self.url
        start = min((index for index in (rest.find("/"), rest.find("?")) if index >= 0), default=len(rest))
        return rest[start:]

    @cached_property
    def query(self) -> dict[str, list[str]]:
        return _pairs(self.target.partition("?")[2], "query")

    @cached_property
    def form(self) -> dict[str, list[str]]:
        try:
            return _pairs(self.body.decode("ascii"), "form")
        except UnicodeDecodeError:
            raise malformed("the form is not ASCII") from None

    @cached_property
    def document(self) -> Any:
        """The body as JSON.

        Raises:
            VerificationFailed: it isn't.
        """
        try:
            return large_json.loads(self.body.decode("utf-8"))
        except (ValueError, RecursionError):
            raise malformed("the body is not JSON") from None

    def in_body(self, path: str) -> str | None:
        """The string or whole number at `path` (`a.b`, `a.0`) of the JSON body, as text; None if there is none."""
        value: Any = self.document
        for step in path.split("."):
            if isinstance(value, dict):
                value = value.get(step)
            elif (
                isinstance(value, list)
                and step.isascii()
                and step.isdigit()
                and len(step) < 5
                and int(step) < len(value)
            ):
                value = value[int(step)]
            else:
                return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        try:
            return str(value) or None
        except ValueError:  # a number of more digits than Python writes out
            raise malformed(f"the body's {path} is too large a number") from None


def _pairs(text: str, what: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    try:
        for key, value in parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS):
            values.setdefault(key, []).append(value)
    except ValueError:
        raise malformed(f"the {what} can't be read") from None
    return values


class Reading:
    """A delivery through a scheme's eyes. Every method raises `VerificationFailed` on what it can't read."""

    def __init__(self, scheme: Scheme, delivery: Delivery, public_url: str | None) -> None:
        self.scheme, self.delivery, self._public_url = scheme, delivery, (public_url or "").rstrip("/")

    def through(self, scheme: Scheme) -> Reading:
        """The same delivery, read by another scheme."""
        return self if scheme is self.scheme else Reading(scheme, self.delivery, self._public_url)

    @property
    def is_public(self) -> bool:
        """Whether `url` is what the operator says senders see, not what a proxy made of it."""
        return bool(self._public_url)

    @property
    def url(self) -> str:
        return self._public_url + self.delivery.target if self._public_url else self.delivery.url

    def value(self, source: str) -> bytes | None:
        """What stands at a source; None when nothing does."""
        kind, _, name = source.partition(":")
        if kind == "header":
            return self.delivery.header(name)
        if kind == "field":
            return self._field(name)
        if kind == "query":
            values = self.delivery.query.get(name, [])
            if len(values) > 1:
                raise malformed(f"the query's {name} came {len(values)} times")
            text = values[0] or None if values else None
        else:
            text = self.delivery.in_body(name)
        return None if text is None else _utf8(text, source)

    def required(self, source: str) -> bytes:
        value = self.value(source)
        if value is None:
            raise missing(f"{self.scheme.name}: the {spelled(source)} is missing")
        return value

    @cached_property
    def items(self) -> list[bytes]:
        """The signature's text, split where the scheme says it is a list."""
        text = self.required(self.scheme.signature)
        if self.scheme.separator is None:
            return [text]
        return [item.strip(b" \t") for item in text.split(self.scheme.separator.encode())]

    def _field(self, name: str) -> bytes | None:
        start = name.encode() + b"="
        values = [item[len(start) :] for item in self.items if item.startswith(start)]
        if len(values) > 1:
            raise malformed(f"{self.scheme.name}: the signature has {len(values)} fields {name}")
        return values[0] or None if values else None

    def message(self, signed: str) -> bytes:
        """The bytes that are signed.

        A part that holds the literal after it is refused: nobody could tell where it ends.
        """
        message, pieces = bytearray(), parts(signed)
        for index, (piece, named) in enumerate(pieces):
            value = self._part(piece) if named else piece.encode()
            end = pieces[index + 1] if named and piece not in OF_ANY_TEXT and index + 1 < len(pieces) else ("", True)
            if not end[1] and end[0].encode() in value:
                raise malformed(f"{self.scheme.name}: the {spelled(piece)} must not hold {end[0]!r}, which ends it")
            message += value
        return bytes(message)

    def _part(self, name: str) -> bytes:
        match name:
            case "raw":
                return self.delivery.body
            case "timestamp":
                return self.required(self.scheme.timestamp or "")
            case "delivery":
                return self.required(self.scheme.delivery[0])
            case "method":
                return _utf8(self.delivery.method, "method")
            case "url":
                return _utf8(self.url, "URL")
            case "url-with-port" | "url-without-port":
                return _utf8(_with_port(self.url, wanted=name == "url-with-port"), "URL")
            case "url-decoded":
                return _hubspot_decoded(_utf8(self.url, "URL"))
            case "twilio-body":
                return _twilio_body(self.delivery)
            case _:
                return self.required(name)


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise malformed(f"the {what} is not Unicode text") from None


def _with_port(url: str, *, wanted: bool) -> str:
    """The URL with its port spelled out (443 or 80 when it has none), or left out.

    Twilio signs either, whatever the URL it was given says; its own libraries try both
    (github.com/twilio/twilio-python, request_validator.py).
    """
    scheme, _, rest = url.partition("://")
    end = min((index for index in (rest.find("/"), rest.find("?")) if index >= 0), default=len(rest))
    host, target = rest[:end], rest[end:]
    bare = re.sub(r":[0-9]*$", "", host)
    if not wanted:
        return f"{scheme}://{bare}{target}"
    return url if bare != host else f"{scheme}://{host}:{443 if scheme == 'https' else 80}{target}"


def _twilio_body(delivery: Delivery) -> bytes:
    """Twilio: a form's keys and values, sorted and run together; nothing for another body, once its hash is the one
    that the URL, which is signed too, carries in `bodySHA256`. https://www.twilio.com/docs/usage/security
    """
    hashes = delivery.query.get("bodySHA256", [])
    if hashes:
        actual = hashlib.sha256(delivery.body).hexdigest()
        if len(hashes) > 1 or not hmac.compare_digest(actual.encode(), _utf8(hashes[0], "bodySHA256").lower()):
            raise VerificationFailed("twilio: the body is not the one whose hash is in bodySHA256", reason="mismatch")
        return b""
    if not delivery.body:
        return b""
    media_type = (delivery.header("Content-Type") or b"").partition(b";")[0].strip().lower()
    if media_type != b"application/x-www-form-urlencoded":
        raise malformed("twilio: the body is not a form, and the URL has no bodySHA256")
    form = delivery.form
    return _utf8("".join(key + value for key in sorted(form) for value in sorted(set(form[key]))), "form")


_HUBSPOT_DECODES = re.compile(rb"%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)


def _hubspot_decoded(url: bytes) -> bytes:
    """HubSpot signs the URL with these escapes undone, and no others.
    https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests
    """
    return _HUBSPOT_DECODES.sub(lambda match: unquote_to_bytes(match[0]), url)
