"""The filters that change texts, or encode values as texts and back. Each pays for what it reads before it does."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

from flows.expressions.comparing import search_units
from flows.expressions.values import (
    MAX_TEXT,
    Encoded,
    Refused,
    SafeUrl,
    Work,
    describe,
    fail,
    json_text,
    plain,
    text,
    weigh,
)

Filter = Callable[..., Any]

_MAX_INDENT: Final = 8
_EACH: Final = 16
"""Units of work for each piece of JSON that is written, and for each call of a filter that takes long to begin."""


def string(value: Any, what: str) -> str:
    return value if isinstance(value, str) else fail(f"{what} needs a string, not {describe(value)}")


def whole(value: Any, what: str, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Refused(f"{what} needs a whole number from {least}")
    return value


def text_filter(change: Callable[[str], str], name: str, quick_for_ascii: bool = False) -> Filter:
    def apply(work: Work, value: Any) -> str:
        written = string(value, name)
        work.spend(0 if quick_for_ascii and written.isascii() else len(written) // 2)
        return work.text(change(written))

    return apply


def strip(change: Callable[[str, str | None], str], name: str) -> Filter:
    """Takes characters off the ends: each one there is looked for in all of `characters`."""

    def apply(work: Work, value: Any, characters: Any = None) -> str:
        written, unwanted = string(value, name), characters and string(characters, name)
        work.spend(len(written) // 16 + len(written) * len(unwanted or "") // 32)
        return work.text(change(written, unwanted))

    return apply


def replace(work: Work, value: Any, old: Any, new: Any, count: int = -1) -> str:
    value, old, new = (string(part, "replace") for part in (value, old, new))
    work.spend(2 * search_units(value, old) + 8)
    found = value.count(old) if count < 0 else min(value.count(old), count)
    work.spend(found // 2)
    if len(value) + found * (len(new) - len(old)) > MAX_TEXT:
        raise Refused("replace makes a text that is too long")
    return work.text(value.replace(old, new, count))


def split(work: Work, value: Any, separator: str | None = None) -> list[str]:
    written = string(value, "split")
    if separator == "":
        raise Refused("split needs a separator that is not empty")
    if separator is None:
        work.spend(len(written) + 1)
        return written.split()
    work.spend(2 * search_units(written, string(separator, "split")))
    work.spend(written.count(separator) * 2 + len(written) // 16)
    return written.split(separator)


def truncate(work: Work, value: Any, length: int, end: str = "…") -> str:
    value, end, length = string(value, "truncate"), string(end, "truncate"), whole(length, "truncate")
    return work.text(value if len(value) <= length else value[: max(0, length - len(end))] + end[:length])


def escape(work: Work, value: Any) -> str:
    written = text(value, work)
    work.spend(len(written) // 2)
    return work.text(html.escape(written))


def urlencode(work: Work, value: Any) -> str:
    if not isinstance(value, Mapping):
        return encode(text(value, work), work)
    pairs = [
        f"{encode(key, work, quote_plus)}={encode(text(item, work), work, quote_plus)}" for key, item in value.items()
    ]
    return Encoded(work.text("&".join(pairs)))


def safe_url(work: Work, value: Any) -> SafeUrl:
    return SafeUrl(string(value, "safe_url"))


def encode(written: str, work: Work, quoted: Callable[[str, str], str] = quote) -> Encoded:
    """`written` percent-encoded, all but letters, digits and `-._~`."""
    work.spend(20 + len(written) * (1 if written.isascii() else 4))
    return Encoded(work.text(quoted(written, "")))


def tojson(work: Work, value: Any, indent: int | None = None) -> str:
    made = plain(value, work)
    if indent is None:
        return json_text(made, work)
    encoder = json.JSONEncoder(ensure_ascii=False, indent=min(whole(indent, "tojson"), _MAX_INDENT))
    if weigh(made, work) > MAX_TEXT:
        raise Refused("tojson makes a text that is too long")
    pieces, length = [], 0
    for piece in encoder.iterencode(made):  # piece by piece: deep data has more indentation than content
        work.spend(_EACH + len(piece) // 16)
        length += len(piece)
        if length > MAX_TEXT:
            raise Refused("tojson makes a text that is too long")
        pieces.append(piece)
    return work.text("".join(pieces))


def fromjson(work: Work, value: Any) -> Any:
    written = string(value, "fromjson")
    work.spend(len(written) // 2 + 8 * (written.count("[") + written.count("{")) + _EACH)
    try:
        return json.loads(written, parse_constant=lambda constant: fail(f"{constant} is not JSON"))
    except ValueError:
        raise Refused("fromjson needs JSON, and this text is none") from None


def b64encode(work: Work, value: Any) -> str:
    written = string(value, "b64encode")
    work.spend(len(written) // 4)
    return work.text(base64.b64encode(written.encode()).decode())


def b64decode(work: Work, value: Any) -> str:
    written = string(value, "b64decode")
    work.spend(len(written) // 4)
    try:
        return work.text(base64.b64decode(written, validate=True).decode())
    except ValueError:
        raise Refused("b64decode needs base64 of UTF-8 text") from None


def sha256(work: Work, value: Any) -> str:
    written = string(value, "sha256")
    work.spend(len(written) // (16 if written.isascii() else 4) + _EACH)
    return hashlib.sha256(written.encode()).hexdigest()
