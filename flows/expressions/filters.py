"""The filters, tests and methods that expressions may use: these and no others.

| filter | gives |
| --- | --- |
| `default(x, boolean=false)`, `d` | `x` when any part of the path is missing; with `true` for empty ones too |
| `upper` `lower` `title` `capitalize` `trim(characters)` | the text so changed |
| `replace(old, new, count)` `split(separator)` `truncate(length, end="…")` | |
| `escape` `e` `urlencode` | safe in HTML; in a URL (a mapping becomes a query) |
| `string` | as it stands in a mixed text |
| `int(default)` `float(default)` | a number; text that is none is an error unless there is a default |
| `round(digits)` `abs` | |
| `length` `count` `first` `last` `reverse` `list` | of lists, strings (and the keys of mappings) |
| `sum(attribute)` `min(attribute)` `max(attribute)` `sort(reverse, case_sensitive, attribute)` `unique(attribute)` | |
| `join(separator, attribute)` | |
| `map("filter", …)` `map(attribute="a.b", default=x)` | each item so changed |
| `select("test", …)` `reject(…)` `selectattr("a.b", "test", …)` `rejectattr(…)` | the items that pass, or do not |
| `items` `keys` `values` | of a mapping, as lists |
| `tojson(indent)` `fromjson` `b64encode` `b64decode` `sha256` | |
| `date(format, timezone)` | a time, RFC 3339 text or Unix seconds, as `strftime` writes it; RFC 3339 without a format |

Tests: `defined`, `undefined`, `none`, `string`, `number`, `integer`, `float`, `boolean`, `true`, `false`, `mapping`,
`sequence`, `iterable`, `odd`, `even`, `divisibleby`, `in`, `eq`, `ne`, `lt`, `le`, `gt`, `ge` and their signs.
Methods of strings: `upper lower title capitalize strip lstrip rstrip split replace startswith endswith`; of times
(`now`): `isoformat strftime timestamp weekday`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cmp_to_key
from typing import Any, Final
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flows.expressions.predicates import LOOSE_TESTS, TESTS
from flows.expressions.values import (
    COMPARE,
    MAX_TEXT,
    Missing,
    Refused,
    Work,
    arithmetic,
    describe,
    fail,
    finite,
    lookup,
    number,
    plain,
    present,
    rfc3339,
    text,
    within_bounds,
)

Filter = Callable[..., Any]

_ABSENT: Final = object()
_MAX_INDENT: Final = 8
_MAX_NUMBER: Final = 40
"""Characters of a number written as text."""
_DATE_FORMAT: Final = re.compile(r"(?:[^%]|%-?[aAbBdHIjmMpSUwWyYfzZGVu%]){0,200}")


def string(value: Any, what: str) -> str:
    return value if isinstance(value, str) else fail(f"{what} needs a string, not {describe(value)}")


def _list(value: Any, what: str, work: Work) -> list[Any]:
    """A list's items, a mapping's keys, a string's characters."""
    if not isinstance(value, (list, tuple, Mapping, str)):
        raise Refused(f"{what} needs a list, not {describe(value)}")
    work.spend(len(value))
    return list(value)


def _whole(value: Any, what: str, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Refused(f"{what} needs a whole number from {least}")
    return value


def attribute_of(item: Any, path: str | int | None) -> Any:
    """`item` followed along `a.b.0`; may be missing."""
    for part in () if path is None else str(path).split("."):
        item = lookup(item, int(part) if part.isdigit() and len(part) < 10 else part, part, "an item of the list")
    return item


def _attributes(value: Any, path: str | int | None, what: str, work: Work) -> list[Any]:
    return [present(attribute_of(item, path)) for item in _list(value, what, work)]


def _text_filter(change: Callable[[str], str], name: str) -> Filter:
    def apply(work: Work, value: Any) -> str:
        return work.text(change(string(value, name)))

    return apply


def _trim(work: Work, value: Any, characters: str | None = None) -> str:
    return work.text(string(value, "trim").strip(characters and string(characters, "trim")))


def _replace(work: Work, value: Any, old: Any, new: Any, count: int = -1) -> str:
    value, old, new = (string(part, "replace") for part in (value, old, new))
    found = value.count(old) if count < 0 else min(value.count(old), count)
    if len(value) + found * (len(new) - len(old)) > MAX_TEXT:
        raise Refused("replace makes a text that is too long")
    return work.text(value.replace(old, new, count))


def _split(work: Work, value: Any, separator: str | None = None) -> list[str]:
    written = string(value, "split")
    if separator == "":
        raise Refused("split needs a separator that is not empty")
    parts: list[str] = written.split(None if separator is None else string(separator, "split"))
    work.spend(len(parts))
    return parts


def _truncate(work: Work, value: Any, length: int, end: str = "…") -> str:
    value, end, length = string(value, "truncate"), string(end, "truncate"), _whole(length, "truncate")
    return work.text(value if len(value) <= length else value[: max(0, length - len(end))] + end[:length])


def _urlencode(work: Work, value: Any) -> str:
    if isinstance(value, Mapping):
        return work.text(urlencode({key: text(item, work) for key, item in value.items()}))
    return work.text(quote(text(value, work), safe=""))


def _int(work: Work, value: Any, default: Any = _ABSENT) -> Any:
    try:
        if isinstance(value, str) and len(value) <= _MAX_NUMBER:
            return within_bounds(int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", value) else int(finite(float(value))))
        return within_bounds(int(finite(float(value)) if isinstance(value, float) else number(value, "int")))
    except (ValueError, Refused):
        return default if default is not _ABSENT else fail(f"int can't read this {describe(value)[2:]} as a number")


def _float(work: Work, value: Any, default: Any = _ABSENT) -> Any:
    try:
        if isinstance(value, str) and len(value) <= _MAX_NUMBER:
            return finite(float(value))
        return finite(float(number(value, "float")))
    except (ValueError, OverflowError, Refused):
        return default if default is not _ABSENT else fail(f"float can't read this {describe(value)[2:]} as a number")


def _round(work: Work, value: Any, digits: int = 0) -> int | float:
    digits = min(_whole(digits, "round"), 20)
    return within_bounds(round(number(value, "round"), digits) if digits else round(finite(number(value, "round"))))


def _abs(work: Work, value: Any) -> int | float:
    return abs(number(value, "abs"))


def _length(work: Work, value: Any) -> int:
    return len(_list(value, "length", work))


def _end(index: int, name: str) -> Filter:
    def apply(work: Work, value: Any) -> Any:
        items = _list(value, name, work)
        return items[index] if items else Missing(f"there is no {name} item: the list is empty")

    return apply


def _reverse(work: Work, value: Any) -> Any:
    return value[::-1] if isinstance(value, str) else _list(value, "reverse", work)[::-1]


def _sum(work: Work, value: Any, attribute: str | int | None = None) -> Any:
    total: Any = 0
    for item in _attributes(value, attribute, "sum", work):
        total = arithmetic("+", total, number(item, "sum"), work)
    return total


def _compare(left: Any, right: Any) -> int:
    return -1 if COMPARE["lt"](left, right) else int(COMPARE["gt"](left, right))


def _folded(value: Any, case_sensitive: bool = False) -> Any:
    return value.casefold() if isinstance(value, str) and not case_sensitive else value


def _sort(
    work: Work, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: str | int | None = None
) -> list[Any]:
    items = _list(value, "sort", work)
    work.spend(len(items) * 8)
    order = cmp_to_key(_compare)
    return sorted(
        items,
        key=lambda item: order(_folded(present(attribute_of(item, attribute)), case_sensitive)),
        reverse=bool(reverse),
    )


def _extreme(choose: Callable[..., Any], name: str) -> Filter:
    def apply(work: Work, value: Any, attribute: str | int | None = None) -> Any:
        items = _list(value, name, work)
        order = cmp_to_key(_compare)
        if not items:
            return Missing(f"there is no {name}: the list is empty")
        return choose(items, key=lambda item: order(present(attribute_of(item, attribute))))

    return apply


def _unique(work: Work, value: Any, attribute: str | int | None = None) -> list[Any]:
    items = _list(value, "unique", work)
    keys = [json.dumps(plain(present(attribute_of(item, attribute)), work), sort_keys=True) for item in items]
    first: dict[str, Any] = {}
    for key, item in zip(keys, items, strict=True):
        first.setdefault(key, item)
    return list(first.values())


def _join(work: Work, value: Any, separator: str = "", attribute: str | int | None = None) -> str:
    parts = [text(item, work) for item in _attributes(value, attribute, "join", work)]
    work.spend(len(string(separator, "join")) * len(parts) // 16)
    return work.text(separator.join(parts))


def _map(work: Work, value: Any, name: str | None = None, *arguments: Any, **options: Any) -> list[Any]:
    items = _list(value, "map", work)
    if name is not None:
        return [present(FILTERS[name](work, item, *arguments, **options)) for item in items]
    found = [attribute_of(item, options["attribute"]) for item in items]
    if "default" in options:
        return [options["default"] if isinstance(item, Missing) else item for item in found]
    return [present(item) for item in found]


def _passing(value: Any, path: str | None, test: str | None, arguments: tuple[Any, ...], work: Work) -> Iterator[Any]:
    for item in _list(value, "select", work):
        found = attribute_of(item, path)
        if test not in LOOSE_TESTS:
            present(found)
        yield item, bool(found) if test is None else TESTS[test](work, found, *arguments)


def _select(wanted: bool) -> Filter:
    def apply(work: Work, value: Any, test: str | None = None, *arguments: Any) -> list[Any]:
        return [item for item, passed in _passing(value, None, test, arguments, work) if passed is wanted]

    return apply


def _selectattr(wanted: bool) -> Filter:
    def apply(work: Work, value: Any, attribute: str, test: str | None = None, *arguments: Any) -> list[Any]:
        return [item for item, passed in _passing(value, attribute, test, arguments, work) if passed is wanted]

    return apply


def _of_mapping(take: Callable[[Mapping[Any, Any]], list[Any]], name: str) -> Filter:
    def apply(work: Work, value: Any) -> list[Any]:
        if not isinstance(value, Mapping):
            raise Refused(f"{name} needs a mapping, not {describe(value)}")
        work.spend(len(value))
        return take(value)

    return apply


def _tojson(work: Work, value: Any, indent: int | None = None) -> str:
    encoder = json.JSONEncoder(
        ensure_ascii=False, indent=indent if indent is None else min(_whole(indent, "tojson"), _MAX_INDENT)
    )
    pieces, length = [], 0
    for piece in encoder.iterencode(plain(value, work)):  # piece by piece: deep data has more indentation than content
        length += len(piece)
        if length > MAX_TEXT:
            raise Refused("tojson makes a text that is too long")
        pieces.append(piece)
    return work.text("".join(pieces))


def _fromjson(work: Work, value: Any) -> Any:
    written = string(value, "fromjson")
    work.spend(len(written) // 4)
    try:
        return json.loads(written, parse_constant=lambda constant: fail(f"{constant} is not JSON"))
    except ValueError:
        raise Refused("fromjson needs JSON, and this text is none") from None


def _b64encode(work: Work, value: Any) -> str:
    return work.text(base64.b64encode(string(value, "b64encode").encode()).decode())


def _b64decode(work: Work, value: Any) -> str:
    try:
        return work.text(base64.b64decode(string(value, "b64decode"), validate=True).decode())
    except ValueError:
        raise Refused("b64decode needs base64 of UTF-8 text") from None


def _sha256(work: Work, value: Any) -> str:
    return hashlib.sha256(string(value, "sha256").encode()).hexdigest()


def strftime(work: Work, moment: datetime, written: Any) -> str:
    if not _DATE_FORMAT.fullmatch(string(written, "a date format")):
        raise Refused("this date format is not allowed: single letters after %, at most 200 characters")
    return moment.strftime(written)


def _moment(value: Any) -> datetime:
    try:
        match value:
            case datetime():
                return value
            case str():
                read = datetime.fromisoformat(value)
                return read if read.tzinfo else read.replace(tzinfo=UTC)
            case int() | float() if not isinstance(value, bool):
                return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise Refused("date needs a time in RFC 3339 or in Unix seconds") from None
    raise Refused(f"date needs a time, RFC 3339 text or Unix seconds, not {describe(value)}")


def _date(work: Work, value: Any, format: str | None = None, timezone: str | None = None) -> str:
    moment = _moment(value)
    if timezone is not None:
        try:
            moment = moment.astimezone(ZoneInfo(string(timezone, "a timezone")))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Refused("date does not know this timezone") from None
    return rfc3339(moment) if format is None else strftime(work, moment, format)


FILTERS: Final[Mapping[str, Filter]] = {
    "upper": _text_filter(str.upper, "upper"),
    "lower": _text_filter(str.lower, "lower"),
    "title": _text_filter(str.title, "title"),
    "capitalize": _text_filter(str.capitalize, "capitalize"),
    "escape": lambda work, value: work.text(html.escape(text(value, work))),
    "e": lambda work, value: work.text(html.escape(text(value, work))),
    "trim": _trim,
    "replace": _replace,
    "split": _split,
    "truncate": _truncate,
    "urlencode": _urlencode,
    "string": lambda work, value: text(value, work),
    "int": _int,
    "float": _float,
    "round": _round,
    "abs": _abs,
    "length": _length,
    "count": _length,
    "first": _end(0, "first"),
    "last": _end(-1, "last"),
    "reverse": _reverse,
    "list": lambda work, value: _list(value, "list", work),
    "sum": _sum,
    "min": _extreme(min, "min"),
    "max": _extreme(max, "max"),
    "sort": _sort,
    "unique": _unique,
    "join": _join,
    "map": _map,
    "select": _select(True),
    "reject": _select(False),
    "selectattr": _selectattr(True),
    "rejectattr": _selectattr(False),
    "items": _of_mapping(lambda mapping: [[key, item] for key, item in mapping.items()], "items"),
    "keys": _of_mapping(list, "keys"),
    "values": _of_mapping(lambda mapping: list(mapping.values()), "values"),
    "tojson": _tojson,
    "fromjson": _fromjson,
    "b64encode": _b64encode,
    "b64decode": _b64decode,
    "sha256": _sha256,
    "date": _date,
}
"""By name; called with the rendering's work, the value and the filter's own arguments. `default` is the compiler's."""

DEFAULT_FILTERS: Final = frozenset({"default", "d"})
