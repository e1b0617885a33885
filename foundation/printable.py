"""Text of others on one line of a log or terminal: it can't begin a line of its own, colour it or turn it round."""

from __future__ import annotations

import re
from typing import Final

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, with those that a terminal takes for the beginning of a command
    "\u2028\u2029"  # separators of lines and paragraphs
    "\u202a-\u202e\u2066-\u2069"  # what turns the direction of the text
    "\ud800-\udfff]"  # halves of characters, which no stream can write
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """`text` with what would not show as itself escaped: `\\n`, `\\x1b`, `\\u2028`."""
    return _UNPRINTABLE.sub(_escape, text)


def printable_json(text: str) -> str:
    """The same for a JSON document on one line, in JSON's own escapes: its value stays the same."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
