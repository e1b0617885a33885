"""A mail as data (RFC 5322, MIME), however badly it is written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from typing import TypedDict


class Address(TypedDict):
    name: str
    address: str


class Attachment(TypedDict):
    """What is known of an attachment; `size` is in bytes."""

    filename: str | None
    content_type: str
    size: int


class MailContent(TypedDict):
    """What a mail says; `sender` is who it is from. `date` is in UTC, None when it has none that can be read."""

    message_id: str | None
    date: str | None
    subject: str
    sender: Address | None
    reply_to: list[Address]
    to: list[Address]
    cc: list[Address]
    text: str | None
    html: str | None
    attachments: list[Attachment]


def read_mail(content: bytes) -> MailContent:
    """Raises nothing: what can't be read is left out, or has U+FFFD in it."""
    mail = message_from_bytes(content)
    inline, attachments = list[Message](), list[Attachment]()
    for part in mail.walk():
        if part.is_multipart():
            continue
        if part.get_content_maintype() == "text" and not _is_attached(part):
            inline.append(part)
        else:
            attachments.append(
                {"filename": _filename(part), "content_type": part.get_content_type(), "size": len(_payload(part))}
            )
    return {
        "message_id": _header(mail, "Message-ID").strip() or None,
        "date": _date(_header(mail, "Date")),
        "subject": _header(mail, "Subject"),
        "sender": next(_addresses(mail, "From"), None),
        "reply_to": list(_addresses(mail, "Reply-To")),
        "to": list(_addresses(mail, "To")),
        "cc": list(_addresses(mail, "Cc")),
        "text": _text(inline, "plain"),
        "html": _text(inline, "html"),
        "attachments": attachments,
    }


def _is_attached(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or part.get_filename() is not None


def _filename(part: Message) -> str | None:
    name = part.get_filename()
    return _decoded(name) if name else None


def _text(parts: list[Message], subtype: str) -> str | None:
    """Of several the first: the others are their own mails' within this one, or footers of lists."""
    for part in parts:
        if part.get_content_subtype() == subtype:
            try:
                return _payload(part).decode(part.get_content_charset("utf-8"), "replace")
            except LookupError:  # a charset nobody knows
                return _payload(part).decode("latin-1")
    return None


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _addresses(mail: Message, name: str) -> Iterator[Address]:
    for shown, address in getaddresses([str(value) for value in mail.get_all(name, [])]):
        if address:
            yield {"name": _decoded(shown), "address": address}


def _header(mail: Message, name: str) -> str:
    return _decoded(str(mail.get(name, "")))


def _decoded(text: str) -> str:
    """Without the folding of its lines, encoded words decoded."""
    unfolded = text.replace("\r", "").replace("\n", "")
    try:
        return str(make_header(decode_header(unfolded)))
    except (LookupError, UnicodeError, HeaderParseError):
        return unfolded


def _date(text: str) -> str | None:
    try:
        at = parsedate_to_datetime(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
