"""What can be known of an action without running it: its arguments and its result as JSON Schemas.

That is all that checking a workflow and completing it in an editor takes, and it is plain data: the built-in
connectors' stands in a file (`connectors.kit.descriptions`), so that neither has to load Prefect.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import ConfigDict, PydanticUserError, TypeAdapter

Json = Any

UNRENDERED: Final = "unrendered"
"""Marks a parameter whose text the workflow hands over as it is written."""
URL: Final = "url"
"""Marks a parameter that is an address."""
_SECTIONS: Final = re.compile(r"\n(?=Args:|Returns:|Raises:)")
_ARGUMENT: Final = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


@dataclass(frozen=True)
class Description:
    """
    Attributes:
        summary: what it does, in Markdown.
        arguments: the JSON Schema of each, `credential` left out.
        required: those that it can't do without.
        result: the JSON Schema of what it gives.
        credential_types: the types it takes; empty: none.
        unrendered: the arguments that are handed over as they are written.
        urls: those that are addresses.
        narrowed_by: the function, as `module:name`, that knows more of the action for certain arguments; empty: none.
    """

    name: str
    summary: str = ""
    arguments: Mapping[str, Json] = field(default_factory=dict)
    required: Collection[str] = ()
    result: Json = field(default_factory=dict)
    credential_types: Collection[str] = ()
    credential_required: bool = False
    unrendered: Collection[str] = ()
    urls: Collection[str] = ()
    narrowed_by: str = ""

    def narrowed(self, written: Mapping[str, Json]) -> Description:
        """What is known of the action for arguments as an author wrote them.

        Raises:
            ConfigurationError: they name something that there is not, or that can't be read.
        """
        if not self.narrowed_by:
            return self
        module, _, name = self.narrowed_by.partition(":")
        found: Description = getattr(import_module(module), name)(self, written)
        return found

    def as_data(self) -> dict[str, Json]:
        return {key: value for key, value in asdict(self).items() if value}


def describe(
    name: str, signature: inspect.Signature, documentation: str = "", credential_types: Collection[str] = ()
) -> Description:
    """The action that a signature with real types, and a docstring, say."""
    parameters = {one.name: one for one in signature.parameters.values()}
    credential = parameters.pop("credential", None)
    return Description(
        name,
        _SECTIONS.split(documentation)[0].strip(),
        {key: _argument(one.annotation, _explained(documentation).get(key)) for key, one in parameters.items()},
        [key for key, one in parameters.items() if one.default is inspect.Parameter.empty],
        _schema(signature.return_annotation, "serialization"),
        list(credential_types),
        credential is not None and credential.default is inspect.Parameter.empty,
        marked(signature, UNRENDERED),
        marked(signature, URL),
    )


def marked(signature: inspect.Signature, mark: str) -> list[str]:
    """The parameters whose type has the mark, sorted."""
    return sorted(one.name for one in signature.parameters.values() if mark in get_args(one.annotation))


def _explained(documentation: str) -> dict[str, str]:
    return {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(documentation)}


def _argument(annotation: Any, explained: str | None) -> Json:
    schema = _schema(annotation, "validation")
    return schema | {"description": explained} if explained else schema


def _schema(annotation: Any, mode: Literal["validation", "serialization"]) -> dict[str, Json]:
    """Empty, which fits anything, for a type that has none."""
    if is_typeddict(annotation):  # before Python 3.12 pydantic takes its own only
        hints = get_type_hints(annotation, include_extras=True)
        properties = {name: _schema(hint, mode) for name, hint in hints.items()}
        return {"type": "object", "properties": properties, "required": sorted(annotation.__required_keys__)}
    if get_origin(annotation) is list:
        return {"type": "array", "items": _schema(get_args(annotation)[0], mode)}
    try:
        schema = _adapter(annotation).json_schema(mode=mode)
    except PydanticUserError:
        return {}
    return _without_titles(schema)  # type: ignore[no-any-return]  # a mapping stays one


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a model brings its own configuration
        return TypeAdapter(annotation)


def _without_titles(schema: Json) -> Json:
    """Pydantic's titles are the names once more."""
    if isinstance(schema, Mapping):
        return {
            key: _without_titles(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [_without_titles(item) for item in schema] if isinstance(schema, list) else schema
