"""Keeps secrets that were opened out of everything that leaves the process: logs, errors, results.

All forms of all secrets are looked for at once, by Aho-Corasick automata: their time hardly grows with the number of
secrets.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from ahocorasick_rs import AhoCorasick, Implementation

from foundation.secret_forms import forms, has_escapes, unescaped, unescaped_with_origin

MASK: Final = "********"
CHUNK: Final = 1000
"""How many forms, of about a hundred secrets, one automaton gets: adding one more secret builds it anew, in
milliseconds."""
CHUNKS: Final = 8
"""How many automata there may be before all become one: a text is searched by each. Takes 0.1 s at 2 000 secrets."""
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Masker:
    """Knows the secrets that this process opened. May be used by several threads."""

    def __init__(self) -> None:
        self._uses: Counter[str] = Counter()
        """Each secret, with how often it was added."""
        self._held: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
        self._forms: Counter[str] = Counter()
        """Each form that is masked, with how many secrets have it."""
        self._automata: tuple[_Automaton, ...] = ()
        self._waiting: set[str] = set()
        """The forms that no automaton has yet."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Masker({len(self._uses)} secrets)"

    def add(self, secret: str, *, holder: object = None) -> None:
        """Masks `secret` from now on, until it was forgotten as often as it was added.

        Args:
            holder: who has it. Adding again for the same holder changes nothing, and `release` forgets what it has.
        """
        with self._lock:
            if holder is not None:
                held = self._held.setdefault(holder, set())
                if secret in held:
                    return
                held.add(secret)
            self._uses[secret] += 1
            if self._uses[secret] == 1:
                found = forms(secret)
                self._forms.update(found)
                self._waiting |= found.difference(*(automaton.forms for automaton in self._automata))

    def forget(self, secret: str) -> None:
        """Takes one `add` back; the last one ends the masking."""
        with self._lock:
            self._forget(secret)

    def release(self, holder: object) -> None:
        """Forgets what was added for `holder`."""
        with self._lock:
            for secret in self._held.pop(holder, ()):
                self._forget(secret)

    def mask(self, text: str) -> str:
        """`text` with every known secret, in any of its forms, replaced by `********`."""
        if not self._forms:
            return text
        found = list(self._places(text))
        if has_escapes(text):
            plain = unescaped(text)
            if plain != text and any(True for _ in self._places(plain)):
                plain, origin = unescaped_with_origin(text)
                found += (origin(start, end) for start, end in self._places(plain))
        return _masked(text, sorted(found)) if found else text

    def mask_json(self, value: Any) -> Any:
        """`value` with every string in it masked, keys of objects too. Tuples come back as lists, as in JSON."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {self.mask_json(key): self.mask_json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.mask_json(item) for item in value]
        return value

    def _forget(self, secret: str) -> None:
        """The automata still find what is forgotten: what they find is looked up in `_forms`."""
        self._uses[secret] -= 1
        if self._uses[secret] > 0:
            return
        if self._uses.pop(secret) < 0:
            return  # it was never added
        self._forms.subtract(found := forms(secret))
        for form in found:
            if not self._forms[form]:
                del self._forms[form]
        self._waiting &= self._forms.keys()

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        """Where forms begin and end in `text`; they may overlap."""
        if self._waiting:
            self._build()
        for automaton in self._automata:
            for form, start, end in automaton.find(text):
                if form in self._forms:
                    yield start, end

    def _build(self) -> None:
        with self._lock:
            *older, newest = self._automata or (_Automaton(()),)
            if len(newest.forms) + len(self._waiting) <= CHUNK:
                built = [*older, _Automaton(newest.forms | self._waiting)]
            else:
                built = [*older, newest, _Automaton(self._waiting)]
            forgotten = sum(len(automaton.forms) for automaton in built) - len(self._forms)
            if len(built) > CHUNKS or forgotten > len(self._forms) + CHUNK:
                built = [_Automaton(self._forms)]
            self._automata, self._waiting = tuple(built), set()


class _Automaton:
    def __init__(self, forms: Collection[str]) -> None:
        self.forms = frozenset(forms)
        self._order = list(self.forms)
        self._search = AhoCorasick(self._order, implementation=Implementation.ContiguousNFA, store_patterns=False)

    def find(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Each form in `text`, with where it begins and ends."""
        if self._order:
            for number, start, end in self._matches(text):
                yield self._order[number], start, end

    def _matches(self, text: str) -> list[tuple[int, int, int]]:
        try:
            return self._search.find_matches_as_indexes(text, overlapping=True)
        except UnicodeEncodeError:  # half a character, as JSON may have it: no secret has one
            whole = _LONE_SURROGATE.sub("\ufffd", text)
            return self._search.find_matches_as_indexes(whole, overlapping=True)


def _masked(text: str, places: Sequence[tuple[int, int]]) -> str:
    """Secrets may overlap in the text: what two of them cover is replaced as one piece, so that no tail stays."""
    parts: list[str] = []
    done, (start, end) = 0, places[0]
    for begins, ends in places[1:]:
        if begins > end:
            parts += text[done:start], MASK
            done, start = end, begins
        end = max(end, ends)
    return "".join([*parts, text[done:start], MASK, text[end:]])


process_masker: Final = Masker()
"""What a credential that was loaded by hand registers its secrets with."""


class MaskingFilter(logging.Filter):
    """Masks a log record: its message, exception, stack and extra attributes. Put it on handlers: a filter on a logger
    does not see the records of the loggers below it."""

    def __init__(self, masker: Masker = process_masker) -> None:
        super().__init__()
        self._masker = masker

    def filter(self, record: logging.LogRecord) -> bool:
        mask = self._masker.mask
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a wrong format: logging reports it, with the arguments
            record.msg = mask(str(record.msg))
            record.args = tuple(mask(str(argument)) for argument in record.args or ())
        else:
            if (masked := mask(message)) != message:
                record.msg, record.args = masked, None
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        if record.exc_text and (masked := mask(record.exc_text)) != record.exc_text:
            # Formatters that don't use the text would print the exception itself.
            record.exc_text, record.exc_info = masked, None
        if record.stack_info:
            record.stack_info = mask(record.stack_info)
        for name in record.__dict__.keys() - _RECORD_ATTRIBUTES:
            record.__dict__[name] = self._masker.mask_json(record.__dict__[name])
        return True


_FORMATTER: Final = logging.Formatter()
_RECORD_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__)
