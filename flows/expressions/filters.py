"""The filters, tests and methods that expressions may use: these and no others.

| filter | gives |
| --- | --- |
| `default(x, boolean=false)`, `d` | `x` when any part of the path is missing; with `true` for empty ones too |
| `upper` `lower` `title` `capitalize` `trim(characters)` | the text so changed |
| `replace(old, new, count)` `split(separator)` `truncate(length, end="…")` | |
| `escape` `e` `urlencode` | safe in HTML; in a URL (a mapping becomes a query) |
| `safe_url` | a text that goes into an address as it is: see `flows.expressions.urls` |
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

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flows.expressions import texts
from flows.expressions.comparing import weigh_key
from flows.expressions.predicates import LOOSE_TESTS, TESTS
from flows.expressions.texts import Filter, string, whole
from flows.expressions.values import (
    MAX_TEXT,
    Missing,
    Refused,
    Work,
    arithmetic,
    describe,
    fail,
    finite,
    json_text,
    lookup,
    number,
    plain,
    present,
    rfc3339,
    text,
    weigh,
    within_bounds,
)

_ABSENT: Final = object()
_MAX_NUMBER: Final = 40
"""Characters of a number written as text."""
_MAX_PARTS: Final = 100
"""Parts of an attribute's path."""
_EACH: Final = 16
"""Units of work for each item that a filter or test is called with."""
_PART: Final = 8
"""Units of work for each part of an attribute's path that is looked up."""
_SORTED: Final = json.JSONEncoder(sort_keys=True)
_DATE_FORMAT: Final = re.compile(r"(?:[^%]|%-?[aAbBdHIjmMpSUwWyYfzZGVu%]){0,200}")


def _list(value: Any, what: str, work: Work) -> list[Any]:
    """A list's items, a mapping's keys, a string's characters."""
    _check_list(value, what)
    work.spend(len(value) * (2 if isinstance(value, str) else 1))
    return list(value)


def _check_list(value: Any, what: str) -> None:
    if not isinstance(value, (list, tuple, Mapping, str)):
        raise Refused(f"{what} needs a list, not {describe(value)}")


Attribute = Callable[[Any, Work], Any]
"""Follows an attribute's path from an item; may give `Missing`."""


def _attribute(path: str | int | None) -> Attribute:
    """What follows `path`, `a.b.0`, from an item; None: the item itself."""
    if path is None:
        return lambda item, work: item
    written = string(path, "attribute") if not isinstance(path, int) else str(path)
    names = written.split(".", _MAX_PARTS)
    if len(names) > _MAX_PARTS:
        raise Refused(f"an attribute has at most {_MAX_PARTS} parts")
    parts = [int(name) if name.isdecimal() and len(name) < 10 else name for name in names]

    def follow(item: Any, work: Work) -> Any:
        for part in parts:
            work.spend(_PART)
            item = lookup(item, part, str(part), "an item of the list")
            if item.__class__ is Missing:
                work.spend(_EACH)
                break
        return item

    return follow


def _attributes(value: Any, path: str | int | None, what: str, work: Work) -> list[Any]:
    items, attribute = _list(value, what, work), _attribute(path)
    work.spend(len(items) * 4)
    return items if path is None else [present(attribute(item, work)) for item in items]


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
    digits = min(whole(digits, "round"), 20)
    return within_bounds(round(number(value, "round"), digits) if digits else round(finite(number(value, "round"))))


def _abs(work: Work, value: Any) -> int | float:
    return abs(number(value, "abs"))


def _length(work: Work, value: Any) -> int:
    _check_list(value, "length")
    return len(value)


def _end(index: int, name: str) -> Filter:
    def apply(work: Work, value: Any) -> Any:
        _check_list(value, name)
        items = _list(value, name, work) if isinstance(value, Mapping) else value
        return items[index] if len(items) else Missing(lambda: f"there is no {name} item: the list is empty")

    return apply


def _reverse(work: Work, value: Any) -> Any:
    if isinstance(value, str):
        work.spend(len(value) // 8)
        return work.text(value[::-1])
    return _list(value, "reverse", work)[::-1]


def _sum(work: Work, value: Any, attribute: str | int | None = None) -> Any:
    total: Any = 0
    for item in _attributes(value, attribute, "sum", work):
        work.spend(_EACH)
        total = arithmetic("+", total, number(item, "sum"), work)
    return total


def _folded(value: Any, case_sensitive: bool, work: Work) -> Any:
    if not isinstance(value, str) or case_sensitive:
        return value
    work.spend(len(value) // (16 if value.isascii() else 2))
    return value.casefold()


def _in_order(choose: Callable[[Callable[[int], Any]], Any], keys: list[Any], rounds: int, work: Work) -> Any:
    """What `choose` makes of the keys' order, each of which it compares about `rounds` times."""
    for key in keys:
        work.spend(_PART + rounds * weigh_key(key, work))
    try:
        return choose(keys.__getitem__)
    except TypeError:
        kinds = list(dict.fromkeys(describe(key) for key in keys[:1000]))
        raise Refused(f"can't compare {kinds[0]} with {kinds[1] if len(kinds) > 1 else kinds[0]}") from None


def _sort(
    work: Work, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: str | int | None = None
) -> list[Any]:
    items = _list(value, "sort", work)
    keys = [_folded(key, case_sensitive, work) for key in _attributes(items, attribute, "sort", work)]
    order = _in_order(
        lambda key: sorted(range(len(items)), key=key, reverse=bool(reverse)), keys, len(items).bit_length(), work
    )
    return [items[index] for index in order]


def _extreme(choose: Callable[..., Any], name: str) -> Filter:
    def apply(work: Work, value: Any, attribute: str | int | None = None) -> Any:
        items = _list(value, name, work)
        if not items:
            return Missing(lambda: f"there is no {name}: the list is empty")
        keys = _attributes(items, attribute, name, work)
        return items[_in_order(lambda key: choose(range(len(items)), key=key), keys, 1, work)]

    return apply


def _unique(work: Work, value: Any, attribute: str | int | None = None) -> list[Any]:
    items = _list(value, "unique", work)
    first: dict[str | tuple[str], Any] = {}
    for item, key in zip(items, _attributes(items, attribute, "unique", work), strict=True):
        work.spend(_EACH)
        first.setdefault(_identity(key, work), item)
    return list(first.values())


def _identity(value: Any, work: Work) -> str | tuple[str]:
    """What is the same for equal values only: 1, 1.0 and true are three."""
    made = plain(value, work)
    if isinstance(made, str):
        work.spend(len(made) // 8)
        return made
    work.spend(_EACH + weigh(made, work))
    return (json_text(made, work, _SORTED),)


def _join(work: Work, value: Any, separator: str = "", attribute: str | int | None = None) -> str:
    parts = [text(item, work) for item in _attributes(value, attribute, "join", work)]
    if sum(map(len, parts)) + len(string(separator, "join")) * (len(parts) - 1) > MAX_TEXT:
        raise Refused("join makes a text that is too long")
    return work.text(separator.join(parts))


def _map(work: Work, value: Any, name: str | None = None, *arguments: Any, **options: Any) -> list[Any]:
    items = _list(value, "map", work)
    work.spend(len(items) * 2)
    if name is not None:
        return [_mapped(FILTERS[name], work, item, arguments, options) for item in items]
    attribute = _attribute(options["attribute"])
    if "default" not in options:
        return [present(attribute(item, work)) for item in items]
    found = (attribute(item, work) for item in items)
    return [options["default"] if one.__class__ is Missing else one for one in found]


def _mapped(filter_: Filter, work: Work, item: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    work.spend(_EACH)
    return present(filter_(work, item, *arguments, **options))


def _passing(
    value: Any, path: str | int | None, test: str | None, arguments: tuple[Any, ...], work: Work
) -> Iterator[Any]:
    attribute = _attribute(path)
    for item in _list(value, "select", work):
        work.spend(_EACH)
        found = attribute(item, work)
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


def _pairs(mapping: Mapping[Any, Any], work: Work) -> list[Any]:
    work.spend(8 * len(mapping))
    return [[key, item] for key, item in mapping.items()]


def _of_mapping(take: Callable[[Mapping[Any, Any], Work], list[Any]], name: str) -> Filter:
    def apply(work: Work, value: Any) -> list[Any]:
        if not isinstance(value, Mapping):
            raise Refused(f"{name} needs a mapping, not {describe(value)}")
        work.spend(len(value))
        return take(value, work)

    return apply


def strftime(work: Work, moment: datetime, written: Any) -> str:
    if not _DATE_FORMAT.fullmatch(string(written, "a date format")):
        raise Refused("this date format is not allowed: single letters after %, at most 200 characters")
    work.spend(20 + 4 * len(written))
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
    work.spend(40)
    moment = _moment(value)
    if timezone is not None:
        try:
            moment = moment.astimezone(ZoneInfo(string(timezone, "a timezone")))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Refused("date does not know this timezone") from None
    return rfc3339(moment) if format is None else strftime(work, moment, format)


FILTERS: Final[Mapping[str, Filter]] = {
    "upper": texts.text_filter(str.upper, "upper", quick_for_ascii=True),
    "lower": texts.text_filter(str.lower, "lower", quick_for_ascii=True),
    "title": texts.text_filter(str.title, "title"),
    "capitalize": texts.text_filter(str.capitalize, "capitalize"),
    "escape": texts.escape,
    "e": texts.escape,
    "trim": texts.strip(str.strip, "trim"),
    "replace": texts.replace,
    "split": texts.split,
    "truncate": texts.truncate,
    "urlencode": texts.urlencode,
    "safe_url": texts.safe_url,
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
    "items": _of_mapping(_pairs, "items"),
    "keys": _of_mapping(lambda mapping, work: list(mapping), "keys"),
    "values": _of_mapping(lambda mapping, work: list(mapping.values()), "values"),
    "tojson": texts.tojson,
    "fromjson": texts.fromjson,
    "b64encode": texts.b64encode,
    "b64decode": texts.b64decode,
    "sha256": texts.sha256,
    "date": _date,
}
"""By name; called with the rendering's work, the value and the filter's own arguments. `default` is the compiler's."""

DEFAULT_FILTERS: Final = frozenset({"default", "d"})
