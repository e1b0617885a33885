"""`ipaas connectors`: what workflows can use."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundation.errors import NotFound
from ipaas.cli.output import AsJson, print_json, print_table
from ipaas.cli.session import connect

if TYPE_CHECKING:
    from connectors.kit.registry import AnyAction

connectors = typer.Typer(help="What workflows can use: list, show NAME, add NAME --spec FILE. Alone: list.")


@connectors.callback(invoke_without_command=True)
def by_default(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_connectors(as_json)


@connectors.command("list")
def list_connectors(as_json: AsJson = False) -> None:
    """Every connector, with its actions and credential types."""
    connect()
    from connectors.kit.registry import connectors as all_connectors

    found = all_connectors()
    if as_json:
        print_json({"items": [{"name": name, "actions": [_document(one) for one in found[name]]} for name in found]})
        return
    rows = [(name, one.action_name, _credential(one)) for name, actions in found.items() for one in actions]
    print_table(("CONNECTOR", "ACTION", "CREDENTIAL"), rows)


@connectors.command()
def show(
    name: Annotated[str, typer.Argument(help="A connector, or one of its actions: slack, slack.post_message.")],
    search: Annotated[str, typer.Option(help="Only the actions whose name or description has this text.")] = "",
    as_json: AsJson = False,
) -> None:
    """A connector's actions as authors write them, in Python and in YAML; of one made of an OpenAPI document a list."""
    connect()
    from connectors.kit.registry import connectors as all_connectors
    from connectors.kit.registry import get
    from connectors.openapi import project

    if "." in name:
        actions = [get(name)]
    elif project.is_pinned(name):
        _list_operations(name, search.lower(), as_json)
        return
    else:
        found = all_connectors()
        if name not in found:
            raise NotFound(f"there is no connector {name}; there are: {', '.join(found)}")
        actions = [one for one in found[name] if search.lower() in f"{one.action_name} {_described(one)}".lower()]
    if as_json:
        print_json({"name": name, "actions": [_document(one) for one in actions]})
        return
    typer.echo("\n\n".join(_text(one) for one in actions))


@connectors.command()
def add(
    name: Annotated[str, typer.Argument(help="What workflows call it: github.")],
    spec: Annotated[str, typer.Option(help="An OpenAPI document: a file, package:NAME/FILE or a URL.")],
    include: Annotated[
        list[str] | None, typer.Option(help="Only the operations of this name; * stands for any text. Repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Makes a connector of an OpenAPI document, pinned by its hash in the project's folder `apis`."""
    connect()
    from connectors.kit.registry import load_connectors
    from connectors.openapi.adding import add as pin

    taken = {action.connector for action in load_connectors().values()}
    added = pin(name, spec, include or (), taken=taken)
    files = [os.path.relpath(file) for file in added.files]
    if as_json:
        print_json({"name": name, "operations": added.operations, "sha256": added.sha256, "files": files})
        return
    typer.echo(f"{name}: {added.operations} operations, pinned in {', '.join(files)}")
    typer.echo(f"ipaas connectors show {name} lists them")


def _list_operations(name: str, search: str, as_json: bool) -> None:
    from connectors.openapi import project

    operations = project.pinned_document(name).operations.values()
    found = [one for one in operations if search in f"{one.name} {one.method} {one.path} {one.summary}".lower()]
    if as_json:
        keys = ("method", "path", "summary", "deprecated")
        listed = [{"name": f"{name}.{one.name}"} | {key: getattr(one, key) for key in keys} for one in found]
        print_json({"name": name, "actions": listed})
        return
    rows = [(f"{name}.{one.name}", f"{one.method} {one.path}", one.summary) for one in found]
    print_table(("ACTION", "REQUEST", "WHAT IT DOES"), rows)


def _described(action: AnyAction) -> str:
    return inspect.getdoc(action.fn) or ""


def _document(action: AnyAction) -> dict[str, Any]:
    arguments = [
        {"name": one.name, "type": _type(one), "required": one.default is inspect.Parameter.empty}
        | ({} if one.default is inspect.Parameter.empty else {"default": one.default})
        for one in _arguments(action)
    ]
    return {
        "name": action.action_name,
        "python": _python(action),
        "yaml": _yaml(action),
        "arguments": arguments,
        "credential": {"types": _types(action), "required": action.credential_required},
        "description": inspect.getdoc(action.fn),
        "documentation": action.documentation,
    }


def _text(action: AnyAction) -> str:
    doc = "\n".join(f"    {line}".rstrip() for line in (inspect.getdoc(action.fn) or "").splitlines())
    yaml = "\n".join(f"    {line}" for line in _yaml(action).splitlines())
    return f"{_python(action)}\n\n{doc}\n\n    In YAML:\n\n{yaml}"


def _python(action: AnyAction) -> str:
    parameters = [_parameter(one) for one in action.signature.parameters.values()]
    result = inspect.formatannotation(action.signature.return_annotation).rpartition(".")[2]
    return f"await {action.action_name}({', '.join(parameters)}) -> {result}"


def _parameter(one: inspect.Parameter) -> str:
    default = "" if one.default is inspect.Parameter.empty else f" = {one.default!r}"
    return f"{one.name}: {_type(one)}{default}"


def _yaml(action: AnyAction) -> str:
    """A step with every argument; those that may be left out are comments."""
    lines = [f"- id: {action.action_name.partition('.')[2].replace('_', '-')}", f"  uses: {action.action_name}"]
    if action.credential:
        comment = "" if action.credential_required else "# "
        lines.append(f"  {comment}credential: NAME  # of type {' or '.join(_types(action))}")
    arguments = _arguments(action)
    if arguments:
        needed = any(one.default is inspect.Parameter.empty for one in arguments)
        lines.append("  with:" if needed else "  # with:")
    for one in arguments:
        required = one.default is inspect.Parameter.empty
        lines.append(f"    {'' if required else '# '}{one.name}: …  # {_type(one)}")
    return "\n".join(lines)


def _arguments(action: AnyAction) -> list[inspect.Parameter]:
    return [one for one in action.signature.parameters.values() if one.name != "credential"]


def _type(parameter: inspect.Parameter) -> str:
    """The annotation as its author wrote it, as far as it can be known."""
    annotation = parameter.annotation
    metadata = getattr(annotation, "__metadata__", None)
    if metadata is not None:  # Annotated: what is inside says enough
        annotation = annotation.__origin__
    return inspect.formatannotation(annotation).replace("typing.", "")


def _types(action: AnyAction) -> list[str]:
    return [kind.get_block_type_slug() for kind in action.credential]


def _credential(action: AnyAction) -> str:
    return " or ".join(_types(action)) + ("" if action.credential_required or not action.credential else " (optional)")
