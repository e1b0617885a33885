"""What it means when another system says no, and what to do about it: each vendor's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx

from connectors.kit.answer import Answer, retry_after_seconds
from foundation.errors import RemoteError
from foundation.masking import Masker

MAX_MESSAGE_CHARACTERS: Final = 300
"""How much of another system's own message an error quotes."""


@dataclass(frozen=True)
class Fault:
    """What one of a vendor's errors means.

    Attributes:
        advice: what the person who reads the error can do.
        status: the HTTP status it means, where the vendor's own does not say.
        retriable: whether the same call may succeed later; None: if its status is 429 or 5xx.
        detail: the field of the answer that says more, and is quoted.
    """

    advice: str = ""
    status: int | None = None
    retriable: bool | None = None
    detail: str = ""


@dataclass(frozen=True)
class Errors:
    """How a vendor says no.

    Attributes:
        table: what its words, or its HTTP statuses, mean; a word goes first.
        word: where in the answer's JSON object its word is.
        refused: whether an answer with a status below 400 is a refusal, for vendors that answer 200 to nearly
            everything.
        vendor: how such a refusal names it.
    """

    table: Mapping[str | int, Fault] = field(default_factory=dict)
    word: str = ""
    refused: Callable[[Answer], bool] = lambda answer: False
    vendor: str = "the other system"

    def error_in(self, answer: Answer, masker: Masker, now: datetime) -> RemoteError | None:
        """The error that the answer is, with the vendor's own message, masked and in one line; None if it is none.

        Raises:
            RemoteError: `refused` could not make sense of the answer.
        """
        if answer.status >= 400:
            said, opening = _own_message(answer), f"{answer.source} answered {answer.status}"
        elif self.refused(answer):
            said, opening = self._word_of(answer) or "unknown_error", f"{self.vendor} refused"
        else:
            return None
        fault = self.table.get(self._word_of(answer)) or self.table.get(answer.status) or Fault()
        if detail := fault.detail and _object(answer).get(fault.detail):
            said += f" ({fault.detail}: {detail})"
        # Masked before it is cut: a secret cut in two would not be recognized any more.
        said = " ".join(masker.mask(said).split())
        if len(said) > MAX_MESSAGE_CHARACTERS:
            said = f"{said[:MAX_MESSAGE_CHARACTERS]}…"
        message = f"{opening}: {said}" if said else opening
        status = fault.status or answer.status
        return RemoteError(
            f"{message}; {fault.advice}" if fault.advice else message,
            status=status,
            retriable=(status == 429 or status >= 500) if fault.retriable is None else fault.retriable,
            retry_after=retry_after_seconds(answer.headers, now),
        )

    def _word_of(self, answer: Answer) -> str:
        return str(_object(answer).get(self.word, "")) if self.word else ""


STATUS_ONLY: Final = Errors()


def _object(answer: Answer) -> Mapping[str, Any]:
    try:
        return answer.json_object()
    except RemoteError:
        return {}


def _own_message(answer: Answer) -> str:
    """What the other system says is wrong: in the places where APIs put it, else its text."""
    try:
        body = answer.json()
    except RemoteError:
        is_text = answer.content_type in {"", "text/plain"}
        return answer.content.decode("utf-8", "replace") if is_text else httpx.codes.get_reason_phrase(answer.status)
    return _message_in(body) or httpx.codes.get_reason_phrase(answer.status)


def _message_in(body: Any) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return _message_in(body[0]) if body else ""
    if not isinstance(body, dict):
        return ""
    keys = ("message", "error_description", "detail", "error", "errors", "title")
    return next((said for key in keys if (said := _message_in(body.get(key)))), "")
