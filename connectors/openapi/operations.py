"""The operations of pinned documents as actions: `github.issues/create`, in Python `github.issues_create`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

from connectors.http import HttpResponse
from connectors.kit.action import Action
from connectors.kit.description import Description
from connectors.openapi import project
from connectors.openapi.actions import pinned_config
from connectors.openapi.described import describe_pinned, summary
from connectors.openapi.document import Document
from connectors.openapi.operation import Operation, identifier, read_operation
from connectors.openapi.proof import TYPES
from connectors.openapi.security import credential_required, credential_types
from connectors.openapi.sending import Config, Wanted, call_operation
from foundation.errors import NotFound

Json = Any


class OperationAction(Action[..., Any]):
    """An operation of a pinned document.

    Attributes:
        operation: as the document has it.
    """

    def __init__(self, connector: str, operation: Operation, config: Config) -> None:
        self.operation = operation

        async def call(**arguments: Any) -> HttpResponse:
            beside = {name: arguments.pop(name, None) for name in ("body", "credential", "options")}
            wanted = Wanted(operation, arguments, beside["body"], beside["options"] or {}, beside["credential"], config)
            return await call_operation(wanted)

        call.__module__, call.__name__ = f"{project.FOLDER}.{connector}", identifier(operation.name)
        call.__qualname__, call.__doc__ = call.__name__, _documentation(operation)
        super().__init__(
            call,
            name=f"{connector}.{operation.name}",
            credential=tuple(TYPES[kind] for kind in credential_types(operation)),
            signature=_signature(operation),
            documentation=operation.documentation,
        )

    @property
    def python_names(self) -> Mapping[str, str]:
        """What Python calls its parameters, by what workflows call them."""
        return {one.argument: one.identifier for one in self.operation.parameters}

    @property
    def described(self) -> Description:
        found = describe_pinned(self.action_name)
        assert found is not None  # noqa: S101 (it was found when this was made)
        return found


def operation_action(name: str) -> OperationAction | None:
    """The action `CONNECTOR.OPERATION` of a pinned document; None if there is none.

    Raises:
        DocumentError: the document can't be used.
    """
    connector, _, operation = name.partition(".")
    if not project.is_pinned(connector):
        return None
    document = project.pinned_document(connector)
    if operation not in document.operations:
        return None
    return _made(connector, document, operation, project.read_pin(connector).text())


def names_of(connector: str) -> Mapping[str, str]:
    """The operations of a pinned connector by the names that Python has for them."""
    operations = list(project.pinned_document(connector).operations)
    return {identifier(name): name for name in reversed(operations)}  # the first one has the name


class Connector:
    """A pinned document in Python: its attributes are its actions. A stub beside it tells editors their types.

    Raises:
        NotFound: the project has no such document.
    """

    def __init__(self, name: str) -> None:
        if not project.is_pinned(name):
            raise NotFound(f"the project has no API {name!r}: `ipaas connectors add {name} --spec …` adds it")
        self._name = name

    def __call__(self, attribute: str) -> OperationAction:
        """What a module's `__getattr__` gives."""
        names = names_of(self._name) if not attribute.startswith("__") else {}
        found = operation_action(f"{self._name}.{names[attribute]}") if attribute in names else None
        if found is None:
            raise AttributeError(f"{self._name} has no operation {attribute!r}")
        return found


@lru_cache(maxsize=2048)
def _made(connector: str, document: Document, operation: str, pin: str) -> OperationAction:
    """`pin`: what the project says, so that a change makes another action."""
    return OperationAction(connector, read_operation(document, operation), pinned_config(connector))


def _documentation(operation: Operation) -> str:
    lines = [summary(operation), "", "Args:"]
    lines += [f"    {one.identifier}: {' '.join(one.description.split())}" for one in operation.parameters]
    if operation.bodies:
        kinds = ", ".join(one.content_type for one in operation.bodies)
        lines.append(f"    body: {' '.join(f'{operation.body_description} ({kinds})'.split())}")
    lines.append("    options: `headers`, `paginate`, `timeout`, `expect` and the like.")
    if credential_types(operation):
        lines.append(f"    credential: the name of a credential of type {' or '.join(credential_types(operation))}.")
    return "\n".join([*lines, "", "Returns:", "    Status, headers (their names in lower case) and body."])


def _signature(operation: Operation) -> inspect.Signature:
    """As Python authors call it."""
    return inspect.Signature(list(_parameters(operation)), return_annotation=HttpResponse)


def _parameters(operation: Operation) -> Iterator[inspect.Parameter]:
    def parameter(name: str, annotation: Any, *, required: bool) -> inspect.Parameter:
        default = inspect.Parameter.empty if required else None
        given = annotation if required else annotation | None
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=given, default=default)

    for one in sorted(operation.parameters, key=lambda one: not one.required):
        yield parameter(one.identifier, _type(operation.document.resolve(one.schema)), required=one.required)
    if operation.bodies:
        body = operation.document.resolve(operation.bodies[0].schema)
        yield parameter("body", _type(body), required=operation.body_required)
    yield parameter("options", dict[str, Any], required=False)
    if credential_types(operation):
        yield parameter("credential", str, required=credential_required(operation))


def _type(schema: Json) -> Any:
    if not isinstance(schema, Mapping):
        return Any
    values = schema.get("enum")
    if isinstance(values, list) and values and all(isinstance(one, (str, int, bool)) for one in values):
        return Literal[tuple(values)]
    match schema.get("type"):
        case "string":
            return str
        case "integer":
            return int
        case "number":
            return float
        case "boolean":
            return bool
        case "array":
            return list[Any]
        case "object":
            return dict[str, Any]
    return dict[str, Any] if "properties" in schema or "allOf" in schema else Any
