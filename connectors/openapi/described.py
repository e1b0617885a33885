"""What `ipaas check` and editors know of an operation: its parameters, body and answer as JSON Schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from connectors.kit.description import Description
from connectors.openapi import project
from connectors.openapi.document import Document
from connectors.openapi.operation import Operation, read_operation
from connectors.openapi.paging import SCHEMA as PAGES
from connectors.openapi.schemas import standing_alone
from connectors.openapi.security import credential_required, credential_types
from foundation.duration import WRITTEN

Json = Any

_SEVERAL: Final[Json] = {"type": "object", "additionalProperties": {"type": "string"}}
OPTIONS: Final[Mapping[str, Json]] = {
    "variables": {**_SEVERAL, "description": "Values of the variables in the server's address."},
    "headers": {**_SEVERAL, "description": "Further headers."},
    "content_type": {"type": "string", "description": "The body's, if the operation takes several."},
    "paginate": {**PAGES, "description": "Asks for page after page; the output's body is the list of all items."},
    "timeout": {**WRITTEN, "description": "For one attempt: seconds, or 30s and the like."},
    "expect": {
        "type": "array",
        "items": {"type": "integer"},
        "description": "Statuses from 400 on that don't fail the step.",
    },
}
"""What a call can say beside its parameters and its body."""


def describe_pinned(name: str) -> Description | None:
    """The action `CONNECTOR.OPERATION` of a pinned document; None if there is none.

    Raises:
        DocumentError: the document can't be used.
    """
    connector, _, operation = name.partition(".")
    if not project.is_pinned(connector):
        return None
    document, pin = project.pinned_document(connector), project.read_pin(connector)
    return (
        _described(document, name, operation, pin.check, pin.pagination is not None)
        if (operation in document.operations)
        else None
    )


def describe_call(call: Description, written: Mapping[str, Json]) -> Description:
    """`openapi.call` as it is for the document and the operation that a step names.

    Raises:
        UnknownOperation: the document has no such operation.
        DocumentError: the document can't be used.
    """
    spec, operation = written.get("spec"), written.get("operation")
    if not isinstance(spec, str) or not isinstance(operation, str):
        return call
    document = project.open_document(spec)
    known = _described(document, call.name, document.find(operation).name, written.get("check") is not False, False)
    body = {key: schema for key, schema in known.arguments.items() if key == "body"}
    parameters = {
        "type": "object",
        "properties": {key: one for key, one in known.arguments.items() if key not in ("body", "options")},
        "required": [name for name in known.required if name != "body"],
        "additionalProperties": False,
    }
    needed = [*call.required, *(["parameters"] if parameters["required"] else [])]
    needed += [name for name in body if name in known.required]
    return replace(
        call,
        arguments={
            **{key: one for key, one in call.arguments.items() if key != "body"},
            **body,
            "parameters": parameters,
        },
        required=needed,
        result=known.result,
        credential_types=known.credential_types,
        credential_required=known.credential_required,
    )


@lru_cache(maxsize=512)
def _described(document: Document, action: str, operation: str, check: bool, pages: bool) -> Description:
    read = read_operation(document, operation)
    options = dict(OPTIONS)
    if pages:  # the project says how
        options["paginate"] = {"anyOf": [{"type": "boolean"}, PAGES], "description": "true: as the project says."}
    arguments = {
        one.argument: _said(standing_alone(document, one.schema) if check else {}, one.description)
        for one in read.parameters
    }
    if read.bodies:
        arguments["body"] = _said(_body(read, check), read.body_description)
    arguments["options"] = {"type": "object", "properties": options, "additionalProperties": False}
    required = [one.argument for one in read.parameters if one.required]
    return Description(
        action,
        summary(read),
        arguments,
        [*required, *(["body"] if read.body_required else [])],
        _result(document, read) if check else {},
        list(credential_types(read)),
        credential_required(read),
    )


def summary(operation: Operation) -> str:
    """What it does, in Markdown, with the page about it."""
    one = operation.about
    about = (
        operation.description
        if operation.description.startswith(one.summary)
        else f"{one.summary}\n\n{operation.description}"
    )
    lines = [about.strip(), f"`{one.method} {one.path}`", operation.documentation]
    return "\n\n".join(line for line in ("Deprecated." if one.deprecated else "", *lines) if line)


def _said(schema: dict[str, Json], description: str) -> dict[str, Json]:
    return {**schema, "description": description} if description else schema


def _body(operation: Operation, check: bool) -> dict[str, Json]:
    if not check:
        return {}
    found: list[Json] = []
    for media in operation.bodies:
        if media.schema not in found:
            found.append(media.schema)
    return standing_alone(operation.document, found[0] if len(found) == 1 else {"anyOf": found})


def _result(document: Document, operation: Operation) -> dict[str, Json]:
    body: dict[str, Json] = {}
    if operation.result is not None:
        body = standing_alone(document, operation.result, "received")
    definitions = body.pop("$defs", None)
    properties = {
        "status": {"type": "integer"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "body": body,
    }
    found = {"type": "object", "properties": properties, "required": ["status", "headers", "body"]}
    return {**found, "$defs": definitions} if definitions else found
