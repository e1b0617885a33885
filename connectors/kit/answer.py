"""What another system answered to a request."""

from __future__ import annotations

import base64
import json as jsonlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx

from foundation.errors import RemoteError


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

    @contextmanager
    def reading(self) -> Iterator[dict[str, Any]]:
        """The body as a JSON object, to be read with `[…]`: what it lacks is the other system's fault.

        Raises:
            RemoteError: it is no object, or lacks what is read.
        """
        try:
            yield self.json_object()
        except KeyError as error:
            message = f"{self.source} answered in an unknown form, without {error}"
            raise RemoteError(message, status=self.status) from None
        except (IndexError, TypeError, AttributeError) as error:
            message = f"{self.source} answered in an unknown form: {error}"
            raise RemoteError(message, status=self.status) from None

    def value(self) -> Any:
        """The body as workflows have it: JSON parsed, else text; None if it is empty, `{"base64": …}` if it is binary.

        Raises:
            RemoteError: it says that it is JSON, and is none.
        """
        if not self.content:
            return None
        if self.is_json:
            return self.json()
        try:
            return self.text()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(self.content).decode()}

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
