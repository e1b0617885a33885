"""The language as one JSON Schema (2020-12), for editors: made of the models that read workflows, and of the actions.

It knows what a file may say, key by key; what keys mean together, and every expression, only `ipaas check` knows.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import Tag

from connectors.kit.description import Description
from connectors.webhooks import scheme_names
from flows.language.definition import Json, Trigger
from flows.language.place import Actions
from flows.language.step import Step
from flows.language.workflow import Workflow

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MOST_ACTIONS: Final = 100
"""Of a connector with more actions, as a large OpenAPI document has them, the schema has the names only: an editor
takes a schema of some megabytes, and no more."""
_EXPRESSION: Final = {"$ref": "#/$defs/Expression"}
_DEFINITIONS: Final = {
    "Expression": {"type": "string", "pattern": r"\{\{", "description": "A text with an expression in it."},
    "Auth": {
        "description": "Who may send: `none` takes anything from anyone.",
        "anyOf": [
            {"const": "none"},
            {
                "type": "object",
                "properties": {"scheme": {"enum": list(scheme_names())}, "credential": {"type": "string"}},
                "required": ["scheme", "credential"],
            },
        ],
    },
}
_ATTRIBUTE: Final = re.compile(r"^    (\w+?)_?: (.+(?:\n {8}.+)*)$", re.MULTILINE)
_STEP_KEYS: Final = (inspect.getdoc(Step) or "").partition("Attributes:\n")[2] + "\n"
_ONE_OF: Final[Mapping[str, list[str]]] = {"ForEach": ["steps", "uses"], "Try": ["catch", "finally"]}
"""Models of which one of several keys is needed."""
_EITHER: Final[Mapping[str, list[str]]] = {"Schedule": ["cron", "every"]}
"""The same, where only one may be there."""
_SHORT: Final[Mapping[str, Json]] = {"Concurrency": {"type": "integer", "minimum": 1}, "StopWith": {"type": "null"}}
"""What may be written instead of a mapping."""


def language_schema(actions: Actions) -> dict[str, Json]:
    """The schema of a workflow file.

    Args:
        actions: those that a step can use.
    """
    schema = _explained(Workflow.model_json_schema())
    definitions: dict[str, Any] = {name: _explained(part) for name, part in schema.pop("$defs").items()}
    several = schema["properties"]["concurrency"]
    several = {key: several[key] for key in ("type", "items", "minItems")}
    schema["properties"]["concurrency"] = {"anyOf": [several["items"], several]}
    for name, keys in _ONE_OF.items():
        definitions[name]["anyOf"] = [{"required": [key]} for key in keys]
    for name, keys in _EITHER.items():
        definitions[name]["oneOf"] = [{"required": [key]} for key in keys]
    for name, written in _SHORT.items():
        definitions[name] = {"anyOf": [written, definitions[name]]}
    for model, key in _triggers():
        definitions[model] = _mapping({key: definitions[model]}, [key])
    definitions["Webhook"]["properties"]["webhook"]["properties"]["auth"] = {"$ref": "#/$defs/Auth"}
    for name in ("Uses", "ForEach"):
        definitions[name]["properties"]["uses"] = {"enum": sorted(actions), "description": "The action."}
        definitions[name]["allOf"] = [{"$ref": "#/$defs/Action"}]
    del definitions["AuthSpec"]
    definitions |= _DEFINITIONS | {
        "Action": {"allOf": [_action(actions[name], definitions) for name in _described(actions)]}
    }
    return {"$schema": DIALECT, **_plain(schema), "title": "A workflow", "$defs": _plain(definitions)}


def _described(actions: Actions) -> list[str]:
    """The actions whose arguments the schema has."""
    sizes = Counter(name.partition(".")[0] for name in actions)
    return [name for name in sorted(actions) if sizes[name.partition(".")[0]] <= MOST_ACTIONS]


def _triggers() -> list[tuple[str, str]]:
    """Each trigger's model, and the key that it stands under."""
    union, *_ = get_args(Trigger)
    found = []
    for member in get_args(union):
        model, *marks = get_args(member)
        found += [(model.__name__, mark.tag) for mark in marks if isinstance(mark, Tag)]
    return found


def _mapping(properties: Mapping[str, Json], required: list[str]) -> dict[str, Json]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _action(action: Description, definitions: dict[str, Json]) -> Json:
    """What a step says that uses this action."""
    arguments = {
        name: _rendered(_hoisted(f"{action.name}.{name}", argument, definitions), verbatim=name in action.unrendered)
        for name, argument in action.arguments.items()
    }
    required = [name for name in ("with",) if action.required]
    if action.credential_required:
        required.append("credential")
    kinds = " or ".join(action.credential_types)
    credential = {"type": "string", "description": f"The name of a credential of type {kinds}."} if kinds else False
    described = {"with": _mapping(arguments, list(action.required)) | {"description": action.summary}}
    return {
        "if": {"properties": {"uses": {"const": action.name}}, "required": ["uses"]},
        "then": {"properties": described | {"credential": credential}, "required": required},
    }


def _hoisted(name: str, schema: Json, definitions: dict[str, Json]) -> Json:
    """The schema, with its own definitions among those of the whole."""
    own: Mapping[str, Json] = schema.get("$defs", {})
    moved = {f"#/$defs/{key}": f"#/$defs/{name}.{key}" for key in own}
    definitions |= {f"{name}.{key}": _rendered(_renamed(part, moved)) for key, part in own.items()}
    return _renamed({key: value for key, value in schema.items() if key != "$defs"}, moved)


def _renamed(schema: Json, moved: Mapping[str, str]) -> Json:
    if isinstance(schema, Mapping):
        return {
            key: moved.get(value, value) if key == "$ref" else _renamed(value, moved) for key, value in schema.items()
        }
    return [_renamed(item, moved) for item in schema] if isinstance(schema, list) else schema


def _rendered(schema: Json, *, verbatim: bool = False) -> Json:
    """What an author may write where a value of this schema is wanted: the value, or an expression that gives it."""
    if verbatim or not isinstance(schema, Mapping):
        return schema
    inside = dict(schema)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return inside | {key: [_rendered(part) for part in schema[key]]}
    for key in ("items", "additionalProperties"):
        if key in schema:
            inside[key] = _rendered(schema[key])
    if "properties" in schema:
        inside["properties"] = {name: _rendered(part) for name, part in schema["properties"].items()}
    if schema.get("type") == "string" and not schema.keys() - {"type", "description", "default"}:
        return inside | {"type": ["string", "number"]}  # a number is taken as its text
    about = {key: inside.pop(key) for key in ("description", "default") if key in inside}
    return about if not inside else about | {"anyOf": [inside, _EXPRESSION]}


def _explained(model: Mapping[str, Json]) -> dict[str, Json]:
    """A model's schema with its docstring told apart: what it is, and what each of its keys means."""
    text, _, attributes = model.get("description", "").partition("Attributes:\n")
    meant = {name: " ".join(said.split()) for name, said in _ATTRIBUTE.findall(_STEP_KEYS + attributes)}
    properties = {
        key: {"description": meant[key], **part} if key in meant and "$ref" not in part else part
        for key, part in model["properties"].items()
    }
    return {**model, "description": text.strip(), "properties": properties}


def _plain(schema: Json) -> Json:
    """Without the titles that pydantic makes of Python's names, and without what a key is when it is left out."""
    if isinstance(schema, Mapping):
        left_out = ("title", "default")
        return {
            key: _plain(value)
            for key, value in schema.items()
            if not (key in left_out and not isinstance(value, Mapping)) and value != ""
        }
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema
