"""What a case expects against what came: every difference with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from flows.language.definition import Path as Place
from flows.testing.answering import url_pattern
from flows.testing.cases import Expect, ExpectedRequest
from flows.testing.requests import Request
from flows.testing.result import Result
from foundation.masking import MASK

_LONG: Final = 20
"""Characters from which on a text's first difference is pointed at."""


class Nothing:
    """Stands for what is not there."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = Nothing()


@dataclass(frozen=True)
class Said:
    """Stands for itself, in words."""

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Difference:
    """`place` is where the expectation stands in its case: `("expect", "output", "sent")`."""

    place: Place
    expected: Any
    got: Any

    def lines(self) -> list[str]:
        """For people: what was expected above what came, with a mark where texts part."""
        expected, got = _shown(self.expected), _shown(self.got)
        lines = [f"expected  {expected}", f"got       {got}"]
        same = next((at for at, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other), 0)
        if isinstance(self.expected, str) and isinstance(self.got, str) and len(expected) >= _LONG and same > 1:
            lines.append(" " * (10 + same) + "^")
        return lines


def differences(expect: Expect, result: Result) -> Iterator[Difference]:
    place: Place = ("expect",)
    given = expect.model_fields_set
    status = expect.status or (result.status if "error" in given else "succeeded")
    if status != result.status:
        yield Difference((*place, "status"), Said(status), Said(result.status.said))
    elif "output" in given:
        yield from _values((*place, "output"), expect.output, result.output, whole=True)
    if "error" in given:
        yield from _error((*place, "error"), expect.error, result.error)
    if expect.answer is not None:
        yield from _answer((*place, "answer"), expect, result)
    if expect.requests is not None:
        yield from _requests((*place, "requests"), expect.requests, result.requests)
    for path in expect.steps:
        yield from _step((*place, "steps", path), expect, result)


def _error(place: Place, expected: Any, got: Mapping[str, Any] | None) -> Iterator[Difference]:
    if isinstance(expected, str) and got is not None:
        if expected not in got["message"]:
            yield Difference(place, expected, got["message"])
    else:
        yield from _values(place, expected, NOTHING if got is None and expected is not None else got)


def _answer(place: Place, expect: Expect, result: Result) -> Iterator[Difference]:
    expected, got = expect.answer, result.answer
    if expected is None:
        return
    if got is None:
        yield Difference(place, expected.model_dump(exclude_unset=True), Said("nothing: the workflow has no webhook"))
        return
    if expected.status is not None:
        yield from _values((*place, "status"), expected.status, got.status)
    if "body" in expected.model_fields_set:
        yield from _values((*place, "body"), expected.body, got.body, whole=True)
    yield from _values((*place, "headers"), _lower(expected.headers), got.headers)


def _step(place: Place, expect: Expect, result: Result) -> Iterator[Difference]:
    path = str(place[-1])
    expected = expect.steps[path]
    try:
        got = result.steps[path]
    except KeyError:
        ran = ", ".join(result.steps) or "none"
        yield Difference(place, Said(expected.status or "a step"), Said(f"no such step; those that ran: {ran}"))
        return
    if expected.status is not None and expected.status != got.status:
        yield Difference((*place, "status"), Said(expected.status), Said(got.status.said))
    given = expected.model_fields_set
    if "output" in given:
        yield from _values((*place, "output"), expected.output, got.output)
    if "error" in given:
        yield from _error((*place, "error"), expected.error, got.error)
    if expected.attempts is not None:
        yield from _values((*place, "attempts"), expected.attempts, got.attempts)


def _requests(place: Place, expected: Sequence[ExpectedRequest], sent: Sequence[Request]) -> Iterator[Difference]:
    """In order. Where one does not match, it is held against the nearest of those that no other one matches."""
    left = list(sent)
    for number, one in enumerate(expected):
        found = [list(_request((*place, number), one, request)) for request in left]
        match = next((index for index, wrong in enumerate(found) if not wrong), None)
        if match is None:
            nearest = _nearest(one, left, found)
            if nearest is None:
                yield Difference((*place, number), Said(_summary(one)), Said(_not_sent(left)))
            else:
                yield from found[nearest]
                del left[: nearest + 1]
            continue
        for request in left[:match]:
            yield Difference((*place, number), Said(f"{_summary(one)} next"), Said(f"before it {request!r}"))
        del left[: match + 1]
    for request in left:
        yield Difference(place, Said("no further request"), request)


def _nearest(expected: ExpectedRequest, left: Sequence[Request], found: Sequence[Sequence[Difference]]) -> int | None:
    """Of those that went to the same place by the same method, the one with the fewest differences."""
    there = [index for index, wrong in enumerate(found) if not any(one.place[-1] in ("method", "url") for one in wrong)]
    return min(there, key=lambda index: len(found[index]), default=None)


def _not_sent(left: Sequence[Request]) -> str:
    return f"instead {', '.join(map(repr, left))}" if left else "nothing more was sent"


def _request(place: Place, expected: ExpectedRequest, got: Request) -> Iterator[Difference]:
    if expected.method is not None and expected.method.upper() != got.method:
        yield Difference((*place, "method"), Said(expected.method), Said(str(got)))
    if expected.url is not None and not url_pattern(expected.url).fullmatch(got.url):
        yield Difference((*place, "url"), expected.url, got.url)
    yield from _values((*place, "headers"), _lower(expected.headers), got.headers)
    yield from _values((*place, "query"), expected.query, _query(got.url, expected.query))
    if "json_" in expected.model_fields_set:
        yield from _values((*place, "json"), expected.json_, got.body)
    if expected.form is not None:
        yield from _values((*place, "form"), expected.form, got.form)
    if expected.body is not None:
        yield from _values((*place, "body"), expected.body, got.content.decode("utf-8", "replace"))


def _query(url: str, expected: Mapping[str, Any]) -> dict[str, Any]:
    found = parse_qs(urlsplit(url).query, keep_blank_values=True)
    return {name: values if isinstance(expected.get(name), list) else values[-1] for name, values in found.items()}


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _summary(expected: ExpectedRequest) -> str:
    said = f"{expected.method or 'any request'} {expected.url or ''}".strip()
    return f"{said} {_shown(expected.json_)}" if "json_" in expected.model_fields_set else said


def _values(place: Place, expected: Any, got: Any, *, whole: bool = False) -> Iterator[Difference]:
    """Differences of plain JSON.

    Args:
        whole: keys that are not expected are differences, too.
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key, value in expected.items():
            yield from _values((*place, key), value, got.get(key, NOTHING), whole=whole)
        for key in [key for key in got if whole and key not in expected]:
            yield Difference((*place, key), NOTHING, got[key])
    elif isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        for index in range(max(len(expected), len(got))):
            pair = (values[index] if index < len(values) else NOTHING for values in (expected, got))
            yield from _values((*place, index), *pair, whole=whole)
    elif not _is_same(expected, got):
        yield Difference(place, expected, got)


def _is_same(expected: Any, got: Any) -> bool:
    if isinstance(expected, str) and isinstance(got, str) and MASK in expected:  # which a recorded case has for secrets
        return re.fullmatch(".*".join(map(re.escape, expected.split(MASK))), got, re.DOTALL) is not None
    return bool(expected == got) and isinstance(expected, bool) == isinstance(got, bool)


def _shown(value: Any) -> str:
    if isinstance(value, Nothing | Said | Request):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, default=str)
