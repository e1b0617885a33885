"""Types of a pinned document for Python: a module of its operations, and the stub that mypy and editors read.

from apis import github
issue = await github.issues_create(owner="acme", repo="shop", body={"title": "…"}, credential="team-github")
issue["body"]["number"]
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from connectors.openapi.document import Document
from connectors.openapi.operation import Operation, identifier, read_operation
from connectors.openapi.schemas import BYTES, standing_alone
from connectors.openapi.security import credential_required, credential_types

Json = Any

_HEAD: Final = '''\
"""The types of `{name}`: {title}. `ipaas connectors add {name}` writes this file."""

from typing import Any, Generic, Literal, NotRequired, Required, TypeAlias, TypedDict, TypeVar

from connectors.kit.action import action

_Body = TypeVar("_Body")

class Response(TypedDict, Generic[_Body]):
    status: int
    headers: dict[str, str]
    body: _Body

class Options(TypedDict, total=False):
    variables: dict[str, str]
    headers: dict[str, str]
    content_type: str
    paginate: bool | dict[str, Any]
    timeout: str | float
    expect: list[int]

class Bytes(TypedDict, total=False):
    base64: Required[str]
    filename: str
    content_type: str
'''
_TAKEN: Final = frozenset(
    [
        *("Any", "Generic", "Literal", "NotRequired", "Required", "TypeAlias", "TypedDict", "TypeVar"),
        *("Response", "Options", "Bytes", "None", "True", "False", "action"),
        *("str", "int", "float", "bool", "list", "dict", "object"),
    ]
)
"""Names that the stub has already."""
_SCALARS: Final[Mapping[str, str]] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}
_MAX_LITERALS: Final = 200
_MAX_DEPTH: Final = 12
"""Objects inside of each other that get a type of their own."""


def module_text(name: str, document: Document) -> str:
    """The module `apis.NAME`."""
    title = _title(document)
    return (
        f'"""`{name}`: {title}. `ipaas connectors add {name}` writes this file."""\n\n'
        "from connectors.openapi.operations import Connector\n\n"
        f'__getattr__ = Connector("{name}")\n'
    )


def stub_text(name: str, document: Document) -> str:
    """Its stub."""
    return _Stub(name, document).text()


class _Stub:
    def __init__(self, name: str, document: Document) -> None:
        self._name, self._document = name, document
        self._types: dict[str, list[str]] = {}
        """The lines of each type's definition."""
        self._known: dict[str, str] = {}
        """The names of types by their schemas, so that equal ones are one."""
        self._functions = {identifier(one) for one in document.operations}

    def text(self) -> str:
        functions = [line for one in self._operations() for line in self._function(one)]
        types = [line for lines in self._types.values() for line in lines]
        head = _HEAD.format(name=self._name, title=_title(self._document))
        return "\n".join([head, *types, *functions])

    def _operations(self) -> Iterator[Operation]:
        seen: set[str] = set()
        for name in self._document.operations:
            if identifier(name) not in seen:
                seen.add(identifier(name))
                yield read_operation(self._document, name)

    def _function(self, operation: Operation) -> Iterator[str]:
        function = identifier(operation.name)
        base = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", operation.name) if part)
        parameters = []
        for one in sorted(operation.parameters, key=lambda one: not one.required):
            kind = self._type_of(one.schema, f"{base}{identifier(one.argument).title().replace('_', '')}")
            parameters.append((one.identifier, kind, one.required))
        if operation.bodies:
            bodies = dict.fromkeys(self._type_of(one.schema, f"{base}Body") for one in operation.bodies)
            parameters.append(("body", " | ".join(bodies), operation.body_required))
        if credential_types(operation):
            parameters.append(("credential", "str", credential_required(operation)))
        parameters.append(("options", "Options", False))
        result = "Any" if operation.result is None else self._type_of(operation.result, f"{base}Result", received=True)
        yield f'\n@action("{self._name}.{operation.name}")'
        yield f"async def {function}("
        yield "    *,"
        for name, kind, required in parameters:
            yield f"    {name}: {kind}," if required else f"    {name}: {_or_none(kind)} = ...,"
        yield f") -> Response[{result}]:"
        yield f'    """{_sentence(operation)}"""'

    def _type_of(self, schema: Json, name: str, *, received: bool = False) -> str:
        alone = standing_alone(self._document, schema, "received" if received else "sent")
        return _Types(self, alone).type_of({key: one for key, one in alone.items() if key != "$defs"}, name)

    def named(self, wanted: str, content: str) -> tuple[str, bool]:
        """The name of the type with this content, and whether it is a new one."""
        if content in self._known:
            return self._known[content], False
        name = re.sub(r"\W", "", wanted) or "Type"
        name = f"T{name}" if name[0].isdigit() or keyword.iskeyword(name) else name
        made, number = name, 2
        while made in self._types or made in _TAKEN or made in self._functions:
            made, number = f"{name}{number}", number + 1
        self._known[content] = made
        self._types[made] = []
        return made, True

    def define(self, name: str, lines: list[str]) -> None:
        self._types[name] = lines


class _Types:
    """The types of one schema and of what it refers to."""

    def __init__(self, stub: _Stub, schema: Json) -> None:
        self._stub, self._definitions = stub, schema.get("$defs", {})
        self._aliases: dict[str, str] = {}
        self._open: set[str] = set()

    def type_of(self, schema: Json, name: str, depth: int = 0) -> str:
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return "Any"
        if "$ref" in schema:
            return self._referred(schema["$ref"].removeprefix("#/$defs/"), depth)
        if schema == BYTES:
            return "Bytes"
        for several in ("anyOf", "oneOf"):
            if schema.get(several):
                return _union(
                    self.type_of(one, f"{name}{index or ''}", depth) for index, one in enumerate(schema[several])
                )
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values and len(values) <= _MAX_LITERALS and all(_is_literal(one) for one in values):
            return f"Literal[{', '.join(_literal(one) for one in dict.fromkeys(values))}]"
        if "allOf" in schema:
            return self.type_of(schema["allOf"][0], name, depth) if len(schema["allOf"]) == 1 else "Any"
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return _union(self._kind({**schema, "type": one}, one, name, depth) for one in kinds)
        return self._kind(schema, kinds, name, depth)

    def _kind(self, schema: Mapping[str, Json], kind: Json, name: str, depth: int) -> str:
        if kind in _SCALARS:
            return _SCALARS[kind]
        if kind == "array":
            return f"list[{self.type_of(schema.get('items'), f'{name}Item', depth + 1)}]"
        if kind == "object" or "properties" in schema:
            if schema.get("properties"):
                return self._object(schema, name, depth)
            more = schema.get("additionalProperties")
            return (
                f"dict[str, {self.type_of(more, f'{name}Value', depth + 1)}]"
                if isinstance(more, Mapping)
                else "dict[str, Any]"
            )
        return "Any"

    def _referred(self, definition: str, depth: int) -> str:
        if definition in self._aliases:
            return self._aliases[definition]
        schema = self._definitions[definition]
        name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", definition) if part)
        is_object = (
            isinstance(schema, Mapping) and schema.get("type", "object") == "object" and schema.get("properties")
        )
        if not is_object:
            if definition in self._open:
                return "Any"  # a recursive type without a name of its own
            self._open.add(definition)
            found = self.type_of(schema, name, depth)
            self._open.discard(definition)
            return found
        return self._object(schema, name, depth, definition)

    def _object(self, schema: Mapping[str, Json], wanted: str, depth: int, definition: str = "") -> str:
        content = json.dumps([definition, schema], sort_keys=True, default=str)
        name, is_new = self._stub.named(wanted, content)
        if definition:
            self._aliases[definition] = name
        if not is_new:
            return name
        required = schema.get("required", [])
        fields = []
        for key, part in schema["properties"].items():
            kind = self.type_of(
                part, f"{name}{''.join(word.title() for word in re.split(r'[^A-Za-z0-9]+', key))}", depth + 1
            )
            fields.append((key, kind if key in required else f"NotRequired[{kind}]"))
        self._stub.define(name, _typed_dict(name, fields))
        return name


def _typed_dict(name: str, fields: list[tuple[str, str]]) -> list[str]:
    if all(key.isidentifier() and not keyword.iskeyword(key) and not _is_private(key) for key, _ in fields):
        return [f"\nclass {name}(TypedDict):", *(f"    {key}: {kind}" for key, kind in fields)]
    lines = [f"    {json.dumps(key, ensure_ascii=False)}: {kind}," for key, kind in fields]
    return [f'\n{name} = TypedDict("{name}", {{', *lines, "})"]


def _is_private(key: str) -> bool:
    return key.startswith("__")  # a class would mangle it


def _union(kinds: Iterator[str]) -> str:
    found = dict.fromkeys(part for kind in kinds for part in _parts(kind))
    return "Any" if "Any" in found or not found else " | ".join(found)


def _parts(kind: str) -> list[str]:
    """The alternatives of a type, but for those inside of brackets."""
    parts, depth, start = [], 0, 0
    in_text = False
    for at, letter in enumerate(kind):
        if letter == '"' and kind[at - 1] != "\\":
            in_text = not in_text
        elif not in_text:
            depth += (letter == "[") - (letter == "]")
            if letter == "|" and not depth:
                parts.append(kind[start:at].strip())
                start = at + 1
    return [*parts, kind[start:].strip()]


def _or_none(kind: str) -> str:
    return kind if kind == "Any" or "None" in _parts(kind) else f"{kind} | None"


def _is_literal(value: Json) -> bool:
    return value is None or isinstance(value, (str, int))


def _literal(value: Json) -> str:
    if value is None or isinstance(value, bool):
        return str(value)
    return json.dumps(value)


def _sentence(operation: Operation) -> str:
    text = operation.about.summary or f"{operation.about.method} {operation.about.path}"
    return " ".join(text.replace("\\", " ").replace('"', "'").split())[:200]


def _title(document: Document) -> str:
    info = document.root.get("info")
    title = str(info.get("title", "")) if isinstance(info, Mapping) else ""
    return " ".join(title.replace("\\", " ").replace('"', "'").split())[:80] or "an API"
