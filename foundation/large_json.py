"""`json.loads` for large texts: in pieces, so that other threads run in between.

The standard decoder parses a text in one call that nothing can interrupt: an event loop stands still meanwhile,
whichever thread makes the call. Here each such call gets at most `PIECE` characters.
"""

from __future__ import annotations

import json
import re
from json import JSONDecodeError
from typing import Any, Final, NoReturn

PIECE: Final = 32 * 1024
"""In characters; the standard decoder needs some 2 ms for the worst of them."""

_SPACE = re.compile(r"[ \t\n\r]*")
_FLAT_RUN = re.compile(
    r"""(?:(?:[^\[\]{}",]++                                     # numbers, words, the colons of an object
          |"[^"\\]*+"                                           # a text without escapes
          |[\[{](?:[^\[\]{}"]++|"[^"\\]*+")*+[\]}]              # an array or object that holds no other
        )*+,)*+""",
    re.VERBOSE,
)
"""As many whole items as there are in a row, each with its comma, that the standard decoder can take at once."""

_CUT_NUMBER: Final = 3
"""A number that ends so near to the end of a piece may have lost its fraction or exponent (`1.`, `1e+`)."""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


STRICT: Final = json.JSONDecoder(parse_constant=_refuse)
"""Without the words that JSON has not: NaN, Infinity, -Infinity."""


def loads(text: str) -> Any:
    """What the text says, strictly JSON: no NaN, no infinity.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    return STRICT.decode(text) if len(text) <= PIECE else _Pieces(text).whole()


class _Pieces:
    def __init__(self, text: str) -> None:
        self._text = text
        self._piece, self._start = "", 0
        """The part of the text that is looked at, and where it begins."""

    def whole(self) -> Any:
        value, end = self._value(self._after_space(0))
        if (end := self._after_space(end)) != len(self._text):
            raise JSONDecodeError("Extra data", self._text, end)
        return value

    def _value(self, at: int) -> tuple[Any, int]:
        """The value that begins here, and where it ends."""
        if found := self._within_a_piece(at):
            return found
        match self._text[at : at + 1]:
            case "[":
                return self._array(at + 1)
            case "{":
                return self._object(at + 1)
        return STRICT.raw_decode(self._text, at)  # a long text, or a fault

    def _within_a_piece(self, at: int) -> tuple[Any, int] | None:
        """The value, if it ends within the present piece, or else within one that begins here."""
        if not self._start <= at < self._start + len(self._piece):
            self._begin_piece(at)
        found = self._scan(at)
        if found is None and self._start != at:
            self._begin_piece(at)
            found = self._scan(at)
        return found

    def _begin_piece(self, at: int) -> None:
        self._piece, self._start = self._text[at : at + PIECE], at

    def _scan(self, at: int) -> tuple[Any, int] | None:
        try:
            value, length = STRICT.raw_decode(self._piece, at - self._start)
        except ValueError:
            return None
        goes_on = self._start + len(self._piece) < len(self._text)
        if goes_on and len(self._piece) - length < _CUT_NUMBER:
            return None
        return value, self._start + length

    def _array(self, at: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        at = self._after_space(at)
        if self._text[at : at + 1] == "]":
            return items, at + 1
        while True:
            run = self._flat_run(at)
            if run:
                items += STRICT.decode(f"[{run}]")
                at = self._after_space(at + len(run) + 1)
            value, at = self._value(at)
            items.append(value)
            at, is_last = self._after_item(at, "]")
            if is_last:
                return items, at

    def _object(self, at: int) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        at = self._after_space(at)
        if self._text[at : at + 1] == "}":
            return members, at + 1
        while True:
            run = self._flat_run(at)
            if run:
                members |= STRICT.decode(f"{{{run}}}")
                at = self._after_space(at + len(run) + 1)
            if self._text[at : at + 1] != '"':
                raise JSONDecodeError("Expecting property name enclosed in double quotes", self._text, at)
            key, at = STRICT.raw_decode(self._text, at)
            at = self._after_space(at)
            if self._text[at : at + 1] != ":":
                raise JSONDecodeError("Expecting ':' delimiter", self._text, at)
            members[key], at = self._value(self._after_space(at + 1))
            at, is_last = self._after_item(at, "}")
            if is_last:
                return members, at

    def _flat_run(self, at: int) -> str:
        """The items in a row that hold no others, without the comma after the last; empty if there is no such item."""
        found = _FLAT_RUN.match(self._text, at, at + PIECE)
        run = found[0] if found else ""
        if run and _SPACE.fullmatch(run, 0, len(run) - 1):
            raise JSONDecodeError("Expecting value", self._text, at)
        return run[:-1]

    def _after_item(self, at: int, closing: str) -> tuple[int, bool]:
        """Where the next item begins, or what is after the last."""
        at = self._after_space(at)
        following = self._text[at : at + 1]
        if following == closing:
            return at + 1, True
        if following != ",":
            raise JSONDecodeError("Expecting ',' delimiter", self._text, at)
        return self._after_space(at + 1), False

    def _after_space(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        return found.end() if found else at
