"""Documents (events, outputs, errors, declarations) as the JSON text that every store keeps of them."""

from __future__ import annotations

import json

from flows.history.records import Json, Limits
from foundation.errors import TooLarge


class Document(str):
    """JSON text, all ASCII, that stands for what it says: whoever has it already need not have it written again."""

    __slots__ = ()


HANDED_OVER_CHARACTERS = 64 * 1024
"""Of a larger event admission is given nothing: what it hands over is bounded, however many there are."""


def handed_over(text: str | None) -> Document | None:
    """An event as admission is given it: its text, which nobody has to parse in a transaction."""
    return Document(text) if text is not None and len(text) <= HANDED_OVER_CHARACTERS else None


def to_document(value: Json) -> str:
    """JSON text of `value`, all ASCII. Raises TypeError or ValueError for what JSON has no word for."""
    return value if isinstance(value, Document) else json.dumps(value, separators=(",", ":"))


def from_document(text: str | None) -> Json:
    return None if text is None else json.loads(text)


def document_or_none(value: Json) -> str | None:
    return None if value is None else to_document(value)


def limited_document(value: Json, limits: Limits, what: str = "output") -> str | None:
    """The document of an output or an answer. Raises TooLarge, which names it as `what`."""
    document = document_or_none(value)
    if document is not None and len(document) > limits.output_bytes:
        raise TooLarge(
            f"the {what} is {len(document)} bytes of JSON, more than the {limits.output_bytes} that are kept"
            " (IPAAS_MAX_OUTPUT_BYTES): return less of it"
        )
    return document
