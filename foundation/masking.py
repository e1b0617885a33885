"""Keeps secrets that were opened out of everything that leaves the process: logs, errors, results.

A secret does not only leak as itself. A remote system may echo it URL-quoted, in base64 or escaped in JSON, so those
forms are known too. What is too short to be a secret (under 4 characters) is not masked: it would garble every text.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, Final

MASK: Final = "********"
SHORTEST: Final = 4
"""In characters: what is shorter is not masked."""
SHORTEST_LINE: Final = 8
"""In characters: from here a line of a secret of several lines is masked alone as well."""


class Masker:
    """Knows the secrets that this process opened. May be used by several threads."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._added: set[str] = set()
        self._patterns: tuple[re.Pattern[str], re.Pattern[str]] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Masker({len(self._added)} secrets)"

    def add(self, value: str) -> None:
        """Masks `value` from now on."""
        if len(value) < SHORTEST or value in self._added:
            return
        with self._lock:
            self._known = self._known | set(_forms(value))
            self._patterns = None
            self._added.add(value)

    def mask(self, text: str) -> str:
        """`text` with every known secret, in any of its forms, replaced by `********`."""
        if not self._known:
            return text
        anywhere, everywhere = self._compiled()
        if not anywhere.search(text):
            return text
        # Secrets may overlap in the text: what two of them cover is replaced as one piece, so that no tail stays.
        parts, done, start, end = [], 0, -1, -1
        for match in everywhere.finditer(text):
            if match.start() > end:
                if end >= 0:
                    parts += [text[done:start], MASK]
                    done = end
                start = match.start()
            end = max(end, match.end(1))
        return "".join([*parts, text[done:start], MASK, text[end:]])

    def mask_json(self, value: Any) -> Any:
        """`value` with every string in it masked, keys of objects too. Tuples come back as lists, as in JSON."""
        if not self._known:
            return value
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {self.mask_json(key): self.mask_json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.mask_json(item) for item in value]
        return value

    def _compiled(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        patterns = self._patterns
        if patterns is None:
            with self._lock:
                # Longest first: a secret that begins with another one is masked as a whole.
                either = "|".join(re.escape(form) for form in sorted(self._known, key=len, reverse=True))
                patterns = self._patterns = (re.compile(either), re.compile(f"(?=({either}))"))
        return patterns


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


def _forms(value: str) -> Iterator[str]:
    lines = value.splitlines()
    for text in {value, value.strip(), *(line for line in lines if len(lines) > 1 and len(line) >= SHORTEST_LINE)}:
        if len(text) < SHORTEST:
            continue
        yield text
        for quoted in (
            urllib.parse.quote(text, safe=""),
            urllib.parse.quote(text),
            urllib.parse.quote_plus(text),
        ):
            yield quoted
            yield re.sub(r"%[0-9A-F]{2}", lambda escape: escape[0].lower(), quoted)
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(text.encode()).decode()
            yield encoded
            yield encoded.rstrip("=")
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield repr(text)[1:-1]
