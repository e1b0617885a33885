"""Regular expressions of a workflow's `input`: ECMA-262's syntax, matched by RE2 in time linear in the text.

What can't be done in linear time (lookaround, backreferences) and repetitions over 1000 are refused. What means
something else in RE2 is translated: `\\s`, `.`, `\\uXXXX`, `\\cX`, `[^]`, `[]`, `[` in a class, long names of
`\\p{…}`. As ECMA-262 has it, `\\d`, `\\w` and `\\b` know ASCII only, and `$` is the very end. Of Python's syntax
`(?P<name>…)`, `(?i)`, `\\A` and `\\Z` work too.
"""

from __future__ import annotations

import re
import string
import time
from functools import lru_cache
from typing import Final, Protocol

import re2  # type: ignore[import-untyped]  # it has none

MAX_LENGTH: Final = 2_000
"""Characters of one pattern."""
_MEMORY: Final = 4 << 20
"""Bytes of one pattern's program and of the states that RE2 remembers."""
_NANOSECONDS: Final = 100
"""A unit of work."""
_SLOWEST: Final = 200_000
"""Units that one search may take at worst: nothing ends one that has begun."""

_SPACE: Final = r"\t\n\x0b\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
_NO_SPACE: Final = (
    r"\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}"
    r"\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}"
)
_ANY: Final = r"[\x{0}-\x{10ffff}]"
_NOTHING: Final = r"[^\x{0}-\x{10ffff}]"
_DOT: Final = r"[^\n\r\x{2028}\x{2029}]"
_PROPERTIES: Final = {
    "Letter": "L",
    "Uppercase_Letter": "Lu",
    "Lowercase_Letter": "Ll",
    "Titlecase_Letter": "Lt",
    "Mark": "M",
    "Number": "N",
    "Decimal_Number": "Nd",
    "Punctuation": "P",
    "Symbol": "S",
    "Separator": "Z",
    "Space_Separator": "Zs",
    "Other": "C",
    "Control": "Cc",
}
_QUANTIFIER: Final = re.compile(r"(?:[*+?]|\{(\d+)(?:(,)(\d*))?\})\??")
_GROUP: Final = re.compile(r"\((?:\?(?::|P?<[A-Za-z_]\w*>|[ims]+(?:-[ims]+)?[:)]))?", re.ASCII)
_PROPERTY: Final = re.compile(r"\{(?:(?:General_Category|gc|Script|sc)=)?([A-Za-z_]+)\}")
_CODE: Final = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}|c([A-Za-z])")
_LOW_SURROGATE: Final = re.compile(r"\\u([dD][c-fC-F][0-9A-Fa-f]{2})")
_LOOKAROUND: Final = ("(?=", "(?!", "(?<=", "(?<!")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class PatternError(Exception):
    """A pattern that is none, or that can't be matched in linear time. The text says why."""


class Budget(Protocol):
    """What a check may still do."""

    def spend(self, units: int) -> None:
        """Raises when there is not so much left."""
        ...

    def refuse(self) -> None:
        """Raises: what comes next could take too long."""
        ...


class Pattern:
    """A compiled pattern.

    Raises:
        PatternError: it can't be used; its message is for the workflow's author.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_LENGTH:
            raise PatternError(f"a pattern has at most {MAX_LENGTH} characters")
        translated, self._spread = _Translation(source).whole()
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = _MEMORY
        try:
            self._compiled = re2.compile(translated, options)
        except re2.error as error:
            said = error.args[0] if error.args else ""
            raise PatternError(said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from None

    def found_in(self, text: str, budget: Budget) -> bool:
        """Whether it matches anywhere in `text`.

        RE2 goes over each character once, but where a pattern can be in many places at the same time, as in
        `a.{50}`, each may cost as much as there are places. A few places make few combinations, which RE2 remembers.
        What could take long is measured, in processor time, and a text that could hold the loop is not begun with.
        """
        encoded = _SURROGATE.sub("\ufffd", text).encode()
        steps = min(len(encoded), 1 << min(self._spread + 4, 30))
        worst = 2 * steps * self._spread
        budget.spend(16 + len(encoded) // 8)
        if worst <= 256:
            return self._compiled.search(encoded) is not None
        if worst > _SLOWEST:
            budget.refuse()
        began = time.thread_time_ns()
        found = self._compiled.search(encoded) is not None
        budget.spend((time.thread_time_ns() - began) // _NANOSECONDS)
        return found


@lru_cache(maxsize=1024)
def pattern(source: str) -> Pattern:
    """The pattern, compiled once.

    Raises:
        PatternError: see `Pattern`.
    """
    return Pattern(source)


class _Translation:
    """A pattern on its way to RE2's syntax, and in how many places at the same time a search may be (its spread)."""

    def __init__(self, source: str) -> None:
        self._source, self._at = source, 0

    def whole(self) -> tuple[str, int]:
        made, spread = self._alternatives(outermost=True)
        if self._at < len(self._source):
            raise PatternError("a ) closes nothing")
        return made, max(spread, 1)

    def _alternatives(self, *, outermost: bool = False) -> tuple[str, int]:
        branches, spread = [], 0
        while True:
            made, places = self._sequence(anchored=outermost and self._source.startswith("^", self._at))
            branches.append(made)
            spread += places
            if not self._takes("|"):
                return "|".join(branches), spread

    def _sequence(self, *, anchored: bool) -> tuple[str, int]:
        made, spread = [], 0
        begins_once = anchored  # a term that begins at one place only is in one place, however often it is repeated
        while self._at < len(self._source) and self._source[self._at] not in "|)":
            single = self._source[self._at] != "("
            atom, places = self._atom()
            quantifier, least, most = self._quantifier()
            made.append(atom + quantifier)
            spread += places if begins_once and single else places * max(least, most or 1)
            if not single or least != most:
                begins_once = False
        return "".join(made), spread

    def _quantifier(self) -> tuple[str, int, int | None]:
        """As it is written, and how often at least and at most; None: without end."""
        found = _QUANTIFIER.match(self._source, self._at)
        if found is None:
            return "", 1, 1
        self._at = found.end()
        if self._source[self._at : self._at + 1] and _QUANTIFIER.match(self._source, self._at):
            raise PatternError(f"{self._source[self._at]} repeats nothing")
        if found[1] is None:
            return found[0], 0, 1 if found[0].startswith("?") else None
        least = int(found[1][:6])
        return found[0], least, least if found[2] is None else int(found[3][:6]) if found[3] else None

    def _atom(self) -> tuple[str, int]:
        character = self._source[self._at]
        if character == "(":
            return self._group()
        self._at += 1
        match character:
            case "[":
                return self._class(), 1
            case "\\":
                written = self._escape(in_class=False)
                return written, 0 if written in (r"\b", r"\B", r"\A", r"\z") else 1
            case "^" | "$":
                return character, 0
            case ".":
                return _DOT, 1
            case "*" | "+" | "?":
                raise PatternError(f"{character} repeats nothing")
            case "{" if self._source.startswith(",", self._at):
                raise PatternError("write {0,…} instead of {,…}")
        return _literal(character), 1

    def _group(self) -> tuple[str, int]:
        rest = self._source[self._at : self._at + 4]
        if rest.startswith(_LOOKAROUND):
            raise PatternError("lookahead and lookbehind can't be matched in linear time")
        found = _GROUP.match(self._source, self._at)
        if found is None or (rest.startswith("(?") and found[0] == "("):
            raise PatternError(f"{rest} is not known here")
        self._at = found.end()
        if found[0].endswith(")"):
            return found[0], 0
        inner, places = self._alternatives()
        if not self._takes(")"):
            raise PatternError("a ( is not closed")
        return f"{found[0]}{inner})", places

    def _class(self) -> str:
        negated = self._takes("^")
        made: list[str] = []
        after_set = False
        while not self._takes("]"):
            if self._at >= len(self._source):
                raise PatternError("a [ is not closed")
            character = self._source[self._at]
            self._at += 1
            if character == "\\":
                after_set = self._source[self._at : self._at + 1] in tuple("dDwWsSpP")
                made.append(self._escape(in_class=True))
            else:
                made.append("-" if character == "-" and not after_set else _literal(character))
                after_set = False
        if not made:
            return _ANY if negated else _NOTHING
        return f"[{'^' if negated else ''}{''.join(made)}]"

    def _escape(self, *, in_class: bool) -> str:
        if self._at >= len(self._source):
            raise PatternError("a \\ at the end escapes nothing")
        code = _CODE.match(self._source, self._at)
        if code:
            return self._code(code)
        character = self._source[self._at]
        self._at += 1
        match character:
            case "d" | "D" | "w" | "W" | "f" | "n" | "r" | "t":
                return f"\\{character}"
            case "v":
                return r"\x0b"
            case "s" | "S":
                inside = _SPACE if character == "s" else _NO_SPACE
                return inside if in_class else f"[{inside}]"
            case "b" if in_class:
                return r"\x08"
            case "b" | "B" | "A" if not in_class:
                return f"\\{character}"
            case "Z" | "z" if not in_class:
                return r"\z"
            case "p" | "P":
                return self._property(character)
            case "0" if self._source[self._at : self._at + 1] not in tuple(string.digits):
                return r"\x00"
            case "k":
                raise PatternError("backreferences can't be matched in linear time")
        if character in string.digits:
            raise PatternError("backreferences can't be matched in linear time")
        if character in string.ascii_letters:
            raise PatternError(f"unknown escape \\{character}")
        return _literal(character)

    def _code(self, code: re.Match[str]) -> str:
        self._at = code.end()
        if code[4]:
            return _literal(chr(ord(code[4]) % 32))
        number = int(code[1] or code[2] or code[3], 16)
        low = _LOW_SURROGATE.match(self._source, self._at)
        if 0xD800 <= number < 0xDC00 and low:
            self._at = low.end()
            number = 0x10000 + ((number - 0xD800) << 10) + int(low[1], 16) - 0xDC00
        if 0xD800 <= number < 0xE000 or number > 0x10FFFF:
            raise PatternError(f"\\{code[0]} is no character")
        return _literal(chr(number))

    def _property(self, kind: str) -> str:
        found = _PROPERTY.match(self._source, self._at)
        if found is None:
            raise PatternError(f"\\{kind} needs the name of a property, as in \\{kind}{{L}}")
        self._at = found.end()
        return f"\\{kind}{{{_PROPERTIES.get(found[1], found[1])}}}"

    def _takes(self, character: str) -> bool:
        if not self._source.startswith(character, self._at):
            return False
        self._at += 1
        return True


def _literal(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        raise PatternError("half a surrogate pair is no character")
    return character if character.isalnum() and character.isascii() else f"\\x{{{ord(character):x}}}"
