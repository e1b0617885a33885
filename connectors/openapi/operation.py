"""One operation of a document, read when it is used: its parameters, bodies, answers, servers and security."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, NoReturn, cast

from connectors.openapi.document import Document, Listed
from connectors.openapi.faults import CallError, DocumentError
from foundation.nearest import listed

Json = Any
Where = Literal["path", "query", "header", "cookie"]

_PLACES: Final = ("path", "query", "header", "cookie")
_STYLE: Final[Mapping[str, str]] = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_STYLES: Final[Mapping[str, Collection[str]]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_IGNORED_HEADERS: Final = frozenset({"accept", "content-type", "authorization"})
"""Header parameters of these names mean nothing: https://spec.openapis.org/oas/v3.1.1.html#parameter-object"""
RESERVED: Final = frozenset({"body", "options", "credential", "return_state", "wait_for", "self"})
"""Names of arguments that no parameter has: those of the call itself, and of Prefect's tasks."""


@dataclass(frozen=True)
class Parameter:
    """
    Attributes:
        argument: what workflows call it: its name, or `query.NAME` where that is taken.
        content_type: of a value that is written as such content, mostly JSON; empty: `style` says how.
    """

    name: str
    where: Where
    argument: str
    schema: Json = field(default_factory=dict)
    required: bool = False
    style: str = "simple"
    explode: bool = False
    allow_reserved: bool = False
    content_type: str = ""
    description: str = ""

    @property
    def identifier(self) -> str:
        """What Python calls it."""
        return identifier(self.argument)


@dataclass(frozen=True)
class Media:
    """A body in one of its content types."""

    content_type: str
    schema: Json = field(default_factory=dict)
    encoding: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Operation:
    """
    Attributes:
        bodies: the request's body in each content type that is taken; the first is the one that is sent by default.
        result: the schema of a successful answer's JSON body; None: it is not known, or there is none.
        security: each of the ways to prove oneself, as the names of schemes that are all needed; an empty one needs
            nothing. None: the document says nothing.
        servers: where the API is, the first one being the default.
        documentation: the address of a page about it; empty if the document names none.
    """

    about: Listed
    document: Document
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[Media, ...] = ()
    body_required: bool = False
    body_description: str = ""
    result: Json = None
    security: tuple[tuple[str, ...], ...] | None = None
    servers: tuple[Mapping[str, Json], ...] = ()
    description: str = ""
    documentation: str = ""

    @property
    def name(self) -> str:
        return self.about.name

    def body(self, content_type: str | None = None) -> Media:
        """The body of that content type; None: the one that is sent by default.

        Raises:
            CallError: the operation takes no body, or none of that type.
        """
        if not self.bodies:
            raise CallError(f"{self.name} takes no body")
        for one in self.bodies:
            if content_type in (None, one.content_type):
                return one
        known = listed(one.content_type for one in self.bodies)
        raise CallError(f"{self.name} takes no body of type {content_type}; it takes {known}")


@lru_cache(maxsize=512)
def read_operation(document: Document, name: str) -> Operation:
    """The operation of this name, or of `METHOD /path`.

    Raises:
        DocumentError: there is none, or it is not what OpenAPI says; the message names the place.
    """
    return _Reader(document, document.find(name)).operation()


def identifier(name: str) -> str:
    """A name as Python can have it: `per_page`, `x_request_id` of `X-Request-Id`, `class_` of `class`."""
    made = re.sub(r"[^0-9A-Za-z_]+", "_", name).strip("_") or "_"
    made = made.lower() if not name.isidentifier() else made
    made = f"_{made}" if made[0].isdigit() else made
    return f"{made}_" if keyword.iskeyword(made) else made


class _Reader:
    def __init__(self, document: Document, listed: Listed) -> None:
        self._document, self._listed = document, listed
        self._item = document.resolve(document.path_item(listed.path))
        self._data = document.operation(listed)

    def operation(self) -> Operation:
        body = self._resolved(self._data.get("requestBody") or {}, "requestBody")
        docs = self._data.get("externalDocs")
        return Operation(
            self._listed,
            self._document,
            tuple(self._parameters()),
            self._bodies(body),
            body.get("required") is True,
            str(body.get("description") or ""),
            self._result(),
            self._security(),
            self._servers(),
            str(self._data.get("description") or self._data.get("summary") or "").strip(),
            str(docs.get("url") or "") if isinstance(docs, Mapping) else "",
        )

    def _parameters(self) -> Iterator[Parameter]:
        found: dict[tuple[str, str], Mapping[str, Json]] = {}
        for index, one in enumerate([*(self._item.get("parameters") or []), *(self._data.get("parameters") or [])]):
            given = self._resolved(one, f"parameters[{index}]")
            name, where = given.get("name"), given.get("in")
            if not isinstance(name, str) or not isinstance(where, str) or where not in _PLACES:
                self._fail(f"parameters[{index}]", f"needs a name, and `in` one of {', '.join(_PLACES)}")
            if not (where == "header" and name.lower() in _IGNORED_HEADERS):
                found[name, where] = given
        taken: set[str] = set(RESERVED)
        for (name, where), given in found.items():
            argument = name if identifier(name) not in taken and name not in taken else f"{where}.{name}"
            taken |= {argument, identifier(argument)}
            yield self._parameter(given, name, cast("Where", where), argument)

    def _parameter(self, given: Mapping[str, Json], name: str, where: Where, argument: str) -> Parameter:
        content = given.get("content")
        kind, media = next(iter(content.items()), ("", {})) if isinstance(content, Mapping) else ("", {})
        style = given.get("style") or _STYLE[where]
        if style not in _STYLES[where]:
            known = ", ".join(_STYLES[where])
            self._fail(f"parameters.{name}", f"style {str(style)[:40]!r} is none of {where}: {known}")
        return Parameter(
            name,
            where,
            argument,
            (media.get("schema") if isinstance(media, Mapping) else {}) or given.get("schema") or {},
            given.get("required") is True or where == "path",
            style,
            given["explode"] if isinstance(given.get("explode"), bool) else style == "form",
            given.get("allowReserved") is True,
            kind,
            str(given.get("description") or "").strip(),
        )

    def _bodies(self, body: Mapping[str, Json]) -> tuple[Media, ...]:
        content = body.get("content") or {}
        if not isinstance(content, Mapping):
            self._fail("requestBody.content", "must be a mapping")
        found = []
        for kind, media in content.items():
            media = self._resolved(media or {}, f"requestBody.content.{kind}")
            encoding = media.get("encoding") or {}
            found.append(Media(kind.partition(";")[0].strip().lower(), media.get("schema") or {}, encoding))
        return tuple(sorted(found, key=lambda one: not is_json(one.content_type)))  # JSON is what is sent by default

    def _result(self) -> Json:
        """The schemas of all successful answers are alternatives; one whose form is not told makes it unknown."""
        answers = self._data.get("responses") or {}
        successes = [status for status in answers if re.fullmatch(r"2(\d\d|XX|xx)", str(status))]
        found: list[Json] = []
        for status in successes or [status for status in answers if status == "default"]:
            answer = self._resolved(answers[status], f"responses.{status}")
            content = answer.get("content") or {}
            if not content:
                found.append({"type": "null"} if not self._document.is_3_0 else {"nullable": True, "enum": [None]})
                continue
            media = next((media for kind, media in content.items() if is_json(kind.partition(";")[0].strip())), None)
            if not isinstance(media, Mapping) or not media.get("schema"):
                return None
            if media["schema"] not in found:
                found.append(media["schema"])
        if not found:
            return None
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _security(self) -> tuple[tuple[str, ...], ...] | None:
        said = self._data.get("security", self._document.root.get("security"))
        if said is None:
            return None
        if not isinstance(said, list) or not all(isinstance(one, Mapping) for one in said):
            self._fail("security", "must be a list of mappings")
        return tuple(tuple(one) for one in said)

    def _servers(self) -> tuple[Mapping[str, Json], ...]:
        for place in (self._data, self._item, self._document.root):
            if servers := place.get("servers"):
                return tuple(one for one in servers if isinstance(one, Mapping) and isinstance(one.get("url"), str))
        return ()

    def _resolved(self, value: Json, place: str) -> Mapping[str, Json]:
        found = self._document.resolve(value)
        if not isinstance(found, Mapping):
            self._fail(place, "must be a mapping")
        return found

    def _fail(self, place: str, problem: str) -> NoReturn:
        raise DocumentError(f"{self._document.name}: {self._listed.name}: {place}: {problem}")


def is_json(content_type: str) -> bool:
    kind = content_type.lower()
    return kind in ("application/json", "text/json") or kind.endswith("+json")
