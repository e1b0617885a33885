"""What another system answered to a request, and what its error says."""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass
from datetime import datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn

import httpx

from foundation.errors import RemoteError
from foundation.masking import Masker

MAX_MESSAGE_CHARACTERS: Final = 300
"""How much of another system's own message an error quotes."""


@dataclass(frozen=True)
class Answer:
    """What the other system answered, read to its end. `source` is what errors call it."""

    status: int
    headers: httpx.Headers
    content: bytes
    source: str

    @property
    def content_type(self) -> str:
        """Without parameters, in lower case; empty when there is none."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        return self.content_type == "application/json" or self.content_type.endswith("+json")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            RemoteError: it is none.
        """
        try:
            return jsonlib.loads(self.content, parse_constant=_reject_constant)
        except (ValueError, RecursionError):
            raise RemoteError(f"{self.source} answered {self.status} with malformed JSON", status=self.status) from None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            RemoteError: it is none.
        """
        value = self.json()
        if not isinstance(value, dict):
            raise RemoteError(
                f"{self.source} answered {self.status} with something else than a JSON object", status=self.status
            )
        return value

    def text(self) -> str:
        """The body as text, in the charset it declares, else UTF-8.

        Raises:
            UnicodeDecodeError: it is no text.
        """
        declared = Message()
        declared["content-type"] = self.headers.get("content-type", "")
        try:
            return self.content.decode(declared.get_content_charset("utf-8"))
        except LookupError:  # a charset nobody knows
            return self.content.decode()


def remote_error(answer: Answer, masker: Masker, now: datetime) -> RemoteError:
    """The error of an answer that is one, with the other system's own message, masked and in one line."""
    # Masked before it is cut: a secret cut in two would not be recognized any more.
    said = " ".join(masker.mask(_own_message(answer)).split())
    if len(said) > MAX_MESSAGE_CHARACTERS:
        said = f"{said[:MAX_MESSAGE_CHARACTERS]}…"
    return RemoteError(
        f"{answer.source} answered {answer.status}: {said}" if said else f"{answer.source} answered {answer.status}",
        status=answer.status,
        retriable=answer.status == 429 or answer.status >= 500,
        retry_after=retry_after_seconds(answer.headers, now),
    )


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


def retry_after_seconds(headers: httpx.Headers, now: datetime) -> float | None:
    """`Retry-After` in seconds from now (RFC 9110, 10.2.3: seconds or a date); None when absent or malformed."""
    value = headers.get("retry-after", "").strip()
    try:
        return (
            max(float(value), 0.0)
            if value[:1].isdigit()
            else max((parsedate_to_datetime(value) - now).total_seconds(), 0.0)
        )
    except (ValueError, TypeError):  # TypeError: a date without a time zone
        return None


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
