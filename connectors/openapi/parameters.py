"""Values as parameters of a path, query, header or cookie, in each style: https://spec.openapis.org/oas/v3.1.1.html#style-values

A value can't leave its place: what would end a segment, a parameter or a header is encoded or refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from connectors.openapi.faults import CallError
from connectors.openapi.operation import Parameter

Json = Any

_RESERVED: Final = ":/?[]@!$'()*,;"
"""What `allowReserved` leaves as it is: the reserved characters, but for those that would end the parameter (`&`, `=`,
`+`, `#`)."""
_SEPARATORS: Final = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}
Encode = Callable[[str], str]


@dataclass(frozen=True)
class Placed:
    """Where the parameters stand in a request: `path` and `query` encoded, headers and cookies as they are."""

    path: Mapping[str, str]
    query: str
    headers: Mapping[str, str]
    cookies: Sequence[str]


def place(parameters: Iterable[Parameter], values: Mapping[str, Json]) -> Placed:
    """The parameters' values, by their arguments, in the request. None stands for one that was not given.

    Raises:
        CallError: a value can't be written as its parameter; the message names it.
    """
    path: dict[str, str] = {}
    query: list[str] = []
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for one in parameters:
        value = values.get(one.argument)
        if value is None:
            continue
        match one.where:
            case "path":
                path[one.name] = _in_path(one, value)
            case "query":
                query += in_query(one, value)
            case "header":
                headers[one.name] = _in_header(one, value)
            case "cookie":
                cookies += in_query(one, value)
    return Placed(path, "&".join(part for part in query if part), headers, cookies)


def _in_path(one: Parameter, value: Json) -> str:
    if one.content_type:
        return _segment(one, _encoded(json.dumps(value, ensure_ascii=False)))
    name = _encoded(one.name)
    match value:
        case Mapping():
            pairs = [(_encoded(str(key)), _encoded(_text(one, part))) for key, part in value.items()]
            exploded = [f"{key}={part}" for key, part in pairs]
            joined = ",".join(part for pair in pairs for part in pair)
        case list() | tuple():
            items = [_encoded(_text(one, item)) for item in value]
            exploded = [f"{name}={item}" for item in items] if one.style == "matrix" else items
            joined = ",".join(items)
        case _:
            joined = _encoded(_text(one, value))
            exploded = [f"{name}={joined}" if one.style == "matrix" else joined]
    match one.style:
        case "label":
            return _segment(one, "." + (".".join(exploded) if one.explode else joined))
        case "matrix":
            written = ";".join(exploded) if one.explode or not isinstance(value, (Mapping, list, tuple)) else ""
            return _segment(one, ";" + (written or f"{name}={joined}"))
    return _segment(one, ",".join(exploded) if one.explode else joined)


def _segment(one: Parameter, text: str) -> str:
    if text in {"", ".", ".."}:
        raise CallError(f"`{one.argument}` can't be part of an address: it is empty or made of dots")
    return text


def in_query(one: Parameter, value: Json) -> list[str]:
    """The parts of a query, or of a form, that a value is: `name=value`, encoded."""
    encode = _reserved if one.allow_reserved else _encoded
    name = _encoded(one.name)
    if one.content_type:
        return [f"{name}={encode(_as_content(one, value))}"]
    if one.style == "deepObject":
        if not isinstance(value, Mapping):
            raise CallError(f"`{one.argument}` must be a mapping: its style is deepObject")
        return list(_deep(one, name, value, encode))
    separator = _SEPARATORS[one.style]
    if isinstance(value, Mapping):
        pairs = [(_encoded(str(key)), encode(_text(one, part))) for key, part in value.items() if part is not None]
        if one.explode:
            return [f"{key}={part}" for key, part in pairs]
        return [f"{name}={separator.join(part for pair in pairs for part in pair)}"]
    if isinstance(value, (list, tuple)):
        items = [encode(_text(one, item)) for item in value]
        return [f"{name}={item}" for item in items] if one.explode else [f"{name}={separator.join(items)}"]
    return [f"{name}={encode(_text(one, value))}"]


def _deep(one: Parameter, name: str, value: Mapping[str, Json], encode: Encode) -> Iterable[str]:
    """`name[key]=value`; deeper ones and lists as most servers read them: `name[a][b]=…`, `name[a]=…&name[a]=…`."""
    for key, part in value.items():
        place = f"{name}%5B{_encoded(str(key))}%5D"
        if isinstance(part, Mapping):
            yield from _deep(one, place, part, encode)
        elif isinstance(part, (list, tuple)):
            yield from (f"{place}={encode(_text(one, item))}" for item in part)
        elif part is not None:
            yield f"{place}={encode(_text(one, part))}"


def _in_header(one: Parameter, value: Json) -> str:
    if one.content_type:
        text = _as_content(one, value)
    elif isinstance(value, Mapping):
        pairs = [(str(key), _text(one, part)) for key, part in value.items()]
        text = ",".join(f"{key}={part}" if one.explode else f"{key},{part}" for key, part in pairs)
    elif isinstance(value, (list, tuple)):
        text = ",".join(_text(one, item) for item in value)
    else:
        text = _text(one, value)
    if not text.isprintable():
        raise CallError(f"`{one.argument}` can't be a header: it has a line break or another control character")
    return text


def _as_content(one: Parameter, value: Json) -> str:
    return value if isinstance(value, str) and "json" not in one.content_type else json.dumps(value, ensure_ascii=False)


def _text(one: Parameter, value: Json) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return ""
        case str():
            return value
        case int() | float():
            return json.dumps(value)
    raise CallError(f"`{one.argument}` can't be written in a {one.where}: it holds a list or mapping inside another")


def _encoded(text: str) -> str:
    return (
        quote(text, safe="-._~", errors="strict")
        if text.isascii()
        else quote(text.encode("utf-8", "replace"), safe="-._~")
    )


def _reserved(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe=_RESERVED + "-._~")
