"""The forms that a secret travels in.

A secret does not only leak as itself: a remote system may echo it in hex, in base64, or escaped for a URL, JSON, Python
or HTML. What is encoded as a whole is a form of its own. Escapes can be mixed at will: `&amp;`, `&#38;` and `&#x26;`
are the same character. So they are undone instead, in the text and in the secret alike: see `unescaped`.
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from html.entities import html5
from typing import Final

SHORTEST: Final = 4
"""In characters: what is shorter is not masked, because it would garble every text."""
SHORTEST_LINE: Final = 8
"""In characters: from here a line of a secret of several lines is masked alone as well."""
SHORTEST_MIDDLE: Final = 6
"""In characters: from here what a secret leaves in the middle of a longer base64 text is masked. It is less than a
secret of 5 bytes leaves."""
ROUNDS: Final = 5
"""How many layers of escapes are undone, as in JSON in an attribute in HTML."""

_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_PERCENT_ASCII: Final = {f"%{byte:02{case}}": chr(byte) for byte in range(128) for case in "xX"}
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_CODED = re.compile(r"(?:\\+u[0-9A-Fa-f]{4})+|(?:\\+x[0-9A-Fa-f]{2})+|\\+U[0-9A-Fa-f]{8}")
_COMMON_ENTITIES: Final = (
    ("&quot;", '"'),
    ("&#34;", '"'),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&lt;", "<"),
    ("&gt;", ">"),
)
_ALIKE: Final = (("\\", ""), ("\n", "n"), ("\t", "t"), ("\r", "r"), ("\b", "b"), ("\f", "f"), ("+", " "))
"""With its backslashes left out, `\\n` is an n; so a newline counts as one, too. The plus sign is a space in forms."""
_ALIKE_BY_CHARACTER: Final = dict(_ALIKE)
_UNLIKE = re.compile("|".join(re.escape(character) for character in _ALIKE_BY_CHARACTER))


def forms(secret: str) -> frozenset[str]:
    """What to look for in a text, and in the text with its escapes undone; empty for what is too short."""
    lines = secret.splitlines()
    alone = (line for line in lines if len(lines) > 1 and len(line) >= SHORTEST_LINE)
    found = {form for text in {secret, secret.strip(), *alone} if len(text) >= SHORTEST for form in _encoded(text)}
    plain = (unescaped(form) for form in found)
    return frozenset(found.union(form for form in plain if len(form) >= SHORTEST))


def has_escapes(text: str) -> bool:
    """Whether `unescaped` may give another text."""
    return "%" in text or "\\" in text or "&" in text or "+" in text


def unescaped(text: str) -> str:
    """What is the same for a text and for the same text with escapes of URLs, JSON, Python or HTML, however mixed.

    It is good for comparing only: the backslashes are left out, and what they may stand before counts as a letter.
    """
    for _ in range(ROUNDS):
        before = text
        if "%" in text:
            text = _PERCENT.sub(_percent, text)
        if "&" in text:
            for entity, character in _COMMON_ENTITIES:
                text = text.replace(entity, character)
            text = _ENTITY.sub(_entity, text)
        if "\\u" in text or "\\x" in text or "\\U" in text:
            text = _CODED.sub(_coded, text)
        if text == before:
            break
    for character, alike in _ALIKE:
        text = text.replace(character, alike)
    return text


def unescaped_with_origin(text: str) -> tuple[str, Callable[[int, int], tuple[int, int]]]:
    """As `unescaped`; and what tells, of a part of the result, which part of `text` it comes from."""
    rounds: list[_Round] = []
    for _ in range(ROUNDS):
        before = text
        for pattern, character in ((_PERCENT, _percent), (_ENTITY, _entity), (_CODED, _coded)):
            text = _replaced(text, pattern, character, rounds)
        if text == before:
            break
    text = _replaced(text, _UNLIKE, lambda match: _ALIKE_BY_CHARACTER[match[0]], rounds)

    def origin(start: int, end: int) -> tuple[int, int]:
        for one in reversed(rounds):
            start, end = one.before(start, end)
        return start, end

    return text, origin


class _Round:
    """Where each replacement of a round begins and ends in the text after it, and began and ended in the one before."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.old_starts: list[int] = []
        self.old_ends: list[int] = []

    def before(self, start: int, end: int) -> tuple[int, int]:
        first = bisect_left(self.ends, start)  # what was left out just before belongs to the part
        if first < len(self.ends) and self.ends[first] == start and self.starts[first] < start:
            first += 1
        last = bisect_left(self.ends, end)
        return self._begin(start, first), self._end(end, last)

    def _begin(self, start: int, number: int) -> int:
        if number < len(self.starts) and self.starts[number] <= start:
            return self.old_starts[number]
        return start + self._moved(number)

    def _end(self, end: int, number: int) -> int:
        if number < len(self.starts) and self.starts[number] < end:
            return self.old_ends[number]
        return end + self._moved(number)

    def _moved(self, number: int) -> int:
        return self.old_ends[number - 1] - self.ends[number - 1] if number else 0


def _replaced(
    text: str, pattern: re.Pattern[str], character: Callable[[re.Match[str]], str], rounds: list[_Round]
) -> str:
    parts: list[str] = []
    done = length = 0
    this = _Round()
    for match in pattern.finditer(text):
        start, end = match.span()
        new = character(match)
        parts += text[done:start], new
        length += start - done
        this.starts.append(length)
        length += len(new)
        this.ends.append(length)
        this.old_starts.append(start)
        this.old_ends.append(end)
        done = end
    if not done:
        return text
    rounds.append(this)
    return "".join([*parts, text[done:]])


def _encoded(text: str) -> Iterator[str]:
    content = text.encode(errors="surrogatepass")
    yield text
    yield content.hex()
    yield content.hex().upper()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(content).decode()
        # In a longer text it stands at one of three alignments, and the characters that it shares with what is before
        # and after are not known. At the end of the text only the one before is shared.
        for before in range(3):
            whole = encode(bytes(before) + content).decode().rstrip("=")
            shared, own = -(-8 * before // 6), 8 * (before + len(content)) // 6
            for part in (whole[shared:], whole[shared:own]):
                if len(part) >= SHORTEST_MIDDLE:
                    yield part


def _percent(escape: re.Match[str]) -> str:
    return _PERCENT_ASCII.get(escape[0]) or _decoded(bytes.fromhex(escape[0].replace("%", "")))


def _entity(escape: re.Match[str]) -> str:
    text = escape[0]
    if text[1] != "#":
        return html5.get(text[1:], text)
    return _character(int(text[3:-1], 16) if text[2] in "xX" else int(text[2:-1]), text)


def _coded(escape: re.Match[str]) -> str:
    text = escape[0].replace("\\", "")
    if text[0] == "u":
        return bytes.fromhex(text.replace("u", "")).decode("utf-16-be", errors="surrogatepass")
    if text[0] == "x":
        return _decoded(bytes.fromhex(text.replace("x", "")))
    return _character(int(text[1:], 16), escape[0])


def _character(code_point: int, otherwise: str) -> str:
    return chr(code_point) if code_point <= 0x10FFFF else otherwise


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
