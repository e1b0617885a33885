"""Stubbed answers, as cases write them: by method and address, one after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import httpx
import respx
from pydantic import BeforeValidator, Field, StrictInt, model_validator

from flows.language.definition import Json, Model

_FAILURES: Final[Mapping[str, type[httpx.TransportError]]] = {
    "connect": httpx.ConnectError,
    "timeout": httpx.ReadTimeout,
}


class StubbedAnswer(Model):
    """One answer."""

    status: StrictInt = Field(default=200, ge=100, le=599, description="The HTTP status.")
    json_: Json = Field(default=None, alias="json", description="The body, as JSON, or:")
    body: str | None = Field(default=None, description="The body, as text.")
    headers: Mapping[str, str] = Field(default={}, description="The headers.")
    error: Literal["connect", "timeout"] | None = Field(
        default=None, description="There is none: `connect`, no connection; `timeout`, no answer in time."
    )

    @model_validator(mode="after")
    def _one_thing(self) -> StubbedAnswer:
        given = self.model_fields_set
        if self.error and given - {"error"}:
            raise ValueError("error stands alone: there is no answer then")
        if {"json_", "body"} <= given:
            raise ValueError("json or body, not both")
        return self

    def response(self) -> httpx.Response:
        """Raises httpx.TransportError, when there is none."""
        if self.error:
            raise _FAILURES[self.error](f"the test says error: {self.error}")
        content = {"json": self.json_} if "json_" in self.model_fields_set else {"text": self.body or ""}
        return httpx.Response(self.status, headers=dict(self.headers), **content)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


InTurn = Annotated[tuple[StubbedAnswer, ...], Field(min_length=1), BeforeValidator(_as_list)]
"""One answer, or several one after the other; the last is given again and again."""


def check_keys(answers: Any) -> Any:
    """Raises ValueError unless each is `METHOD URL`, or `URL` for any method."""
    for key in answers if isinstance(answers, Mapping) else ():
        method, url = split(key)
        if not re.fullmatch(r"[A-Z]*", method) or not re.match(r"https?://|\*", url) or " " in url:
            raise ValueError(f"expected a method and an address, like POST https://stock.example/items/*, got {key!r}")
    return answers


def split(key: str) -> tuple[str, str]:
    """Its method, "" for any, and its address."""
    method, space, url = key.partition(" ")
    return (method, url) if space else ("", key)


def url_pattern(written: str) -> re.Pattern[str]:
    """What matches an address in which `*` stands for anything; one without a `?` matches with any query."""
    root = "/?" if re.fullmatch(r"https?://[^/?]+", written) else ""
    query = "" if "?" in written else r"(\?.*)?"
    return re.compile(".*".join(map(re.escape, written.split("*"))) + root + query, re.DOTALL)


def stub(router: respx.Router, answers: Mapping[str, Sequence[StubbedAnswer]]) -> None:
    """Makes the router answer so. What matches several is answered by the first."""
    for key, given in answers.items():
        method, url = split(key)
        wanted: dict[str, Any] = {"method": method} if method else {}
        router.route(name=key, **wanted, url__regex=f"^{url_pattern(url).pattern}$").mock(
            side_effect=_one_after_the_other(given)
        )


def _one_after_the_other(answers: Sequence[StubbedAnswer]) -> Any:
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        return (left.pop(0) if len(left) > 1 else left[0]).response()

    return answer
