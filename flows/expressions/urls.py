"""Addresses: a text that is a URL, with expressions in it. A value can't leave its place.

| place | what a value becomes |
| --- | --- |
| path | part of one segment: percent-encoded, `/` too; a segment that comes out empty, `.` or `..` is refused |
| query, fragment | percent-encoded, `&`, `=` and `#` too |
| host, port, user | as it is, and only letters, digits, `-` and `_`; dots too, where it begins a label of the host |

- A text that is exactly one `{{ … }}` is the whole address, as it is. A text that begins with one begins with a base
  address, as it is, too: what follows must not end up in its query or fragment.
- `x | safe_url` is as it is wherever it stands; what `x | urlencode` encoded is not encoded again.
- Numbers, booleans and times are written as in any text. null, lists and mappings have no form in an address.
- What is no expression is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from jinja2 import nodes

from flows.expressions.compiler import Compiler, Evaluate, parse_text
from flows.expressions.texts import encode
from flows.expressions.values import Encoded, Placeholder, Refused, SafeUrl, Work, describe, text

_ORIGIN: Final = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")
_LABELS: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_SEGMENT_END: Final = re.compile(r"[/?#\\]")
_WRITTEN: Final = (str, int, float, datetime)
_DOT: Final = re.compile(r"%2e", re.IGNORECASE)

_LITERAL_ORIGIN: Final = re.compile(
    r"""(?<![a-z0-9+.-])(https?)://([^\s/?#\\"'<>]+)(?=([\s/?#\\"'<>])?)""", re.IGNORECASE
)
_HOST: Final = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.IGNORECASE)
_PORTS: Final = {"http": 80, "https": 443}

Piece = Callable[["Address", Mapping[str, Any], Work], None]


class Address:
    """A URL that is being written, piece by piece."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._written = ""
        self._base_ended = True
        self._segment: int | None = None
        """Where the segment of the path begins that values have gone into."""

    def literal(self, piece: str) -> None:
        """What the author wrote."""
        self._check_base(piece)
        self._append(piece)

    def value(self, value: Any) -> None:
        """What an expression gave."""
        if isinstance(value, (SafeUrl, Placeholder)):
            return self.literal(str(value))
        if not self._written.strip():
            return self._base(value)
        self._check_base("")
        if not isinstance(value, _WRITTEN):
            raise Refused(f"{describe(value)} has no form in an address")
        if self._place() == "host":
            return self._append(self._host_part(text(value, self._work)))
        if self._place() == "path" and self._segment is None:
            self._segment = self._written.rfind("/") + 1
        self._append(str(value) if isinstance(value, Encoded) else encode(text(value, self._work), self._work))
        return None

    def end(self) -> str:
        self._check_segment(at_end=True)
        return self._work.text(self._written)

    def _base(self, value: Any) -> None:
        if not isinstance(value, str):
            raise Refused(f"an address begins with a text, not with {describe(value)}")
        self._append(value)
        self._base_ended = False

    def _check_base(self, piece: str) -> None:
        if self._base_ended:
            return
        self._base_ended = True
        if "#" in self._written:
            raise Refused("the base address has a fragment, and what follows would be part of it")
        if "?" in self._written and piece.startswith(("/", "?")):
            raise Refused("the base address has a query, and the path that follows would be part of it")

    def _append(self, piece: str) -> None:
        self._work.spend(16 + (len(self._written) + len(piece)) // 16)
        self._written = self._work.text(self._written + piece)
        self._check_segment(at_end=False)

    def _place(self) -> str:
        origin = _ORIGIN.match(self._written)
        rest = self._written[origin.end() :] if origin else self._written
        if "#" in rest or "?" in rest:
            return "query or fragment"
        return "host" if origin and not _SEGMENT_END.search(rest) else "path"

    def _host_part(self, written: str) -> str:
        begins_label = self._written[-1] in "/.@"
        if not _LABELS.fullmatch(written) or ("." in written and not begins_label):
            raise Refused(
                "a value in an address' host can only have letters, digits, - and _; | safe_url hands it over as it is"
            )
        return written

    def _check_segment(self, *, at_end: bool) -> None:
        if self._segment is None:
            return
        end = _SEGMENT_END.search(self._written, self._segment)
        if end is None and not at_end:
            return
        segment = self._written[self._segment : end.start() if end else None]
        self._segment = None
        if _DOT.sub(".", segment) in ("", ".", ".."):
            what = f"{segment!r} is no segment" if segment else "a segment is empty"
            raise Refused(f"{what} of an address' path: it would lead to another address")


def address_of(parts: Sequence[nodes.Expr], compiler: Compiler) -> Evaluate:
    """Compiles the parts of a text that is an address."""
    pieces: list[Piece] = [
        _literal(part.data) if isinstance(part, nodes.TemplateData) else _value(compiler.present(part))
        for part in parts
    ]

    def write(scope: Mapping[str, Any], work: Work) -> str:
        address = Address(work)
        for piece in pieces:
            piece(address, scope, work)
        return address.end()

    return write


def _literal(data: str) -> Piece:
    return lambda address, scope, work: address.literal(data)


def _value(evaluate: Evaluate) -> Piece:
    return lambda address, scope, work: address.value(evaluate(scope, work))


def hosts_in(written: str) -> Iterator[str]:
    """Every `host:port` of an http or https address in a text, of those that no expression has a part in."""
    if "{{" not in written:
        yield from _hosts(written, ends=True)
        return
    try:
        parts: Sequence[nodes.Node] = parse_text(written)
    except Refused:
        return  # compiling it says what is wrong
    for place, part in enumerate(parts):
        if isinstance(part, nodes.TemplateData):
            yield from _hosts(part.data, ends=place == len(parts) - 1)
            continue
        for constant in [part] if isinstance(part, nodes.Const) else part.find_all(nodes.Const):
            if isinstance(constant.value, str):
                yield from _hosts(constant.value, ends=False)


def _hosts(literal: str, *, ends: bool) -> Iterator[str]:
    """The hosts in a piece of text; one at its end only if it `ends` there, and no value can go on with it."""
    for scheme, authority, after in _LITERAL_ORIGIN.findall(literal):
        host = _HOST.fullmatch(authority.rpartition("@")[2])
        if host and (after or ends):
            yield f"{host[1].lower()}:{int(host[2] or _PORTS[scheme.lower()])}"
