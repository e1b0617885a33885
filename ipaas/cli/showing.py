"""`ipaas show`: a workflow's file, in words or as a picture."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from foundation.errors import NotFound
from ipaas.cli.output import AsJson, print_fields, print_json, print_table
from ipaas.cli.session import InputError, connect

if TYPE_CHECKING:
    from flows.drawing.picture import Picture
    from flows.language.definition import Declaration

showing = typer.Typer()

FormatName = Literal["text", "svg", "mermaid"]
_OF_SUFFIX: dict[str, FormatName] = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}

Graph = Annotated[bool, typer.Option("--graph", help="Draw it.")]
Form = Annotated[
    FormatName | None,
    typer.Option("--format", help="Of the drawing; default: text, or what the output's suffix says (.svg, .mmd)."),
]
Output = Annotated[Path | None, typer.Option(help="Write the drawing to this file.")]


@showing.command("show")
def show_file(
    workflow: Annotated[
        str, typer.Argument(metavar="FILE", help="A workflow's file; FILE:NAME if it has several workflows.")
    ],
    graph: Graph = False,
    form: Form = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Shows a workflow's file, or draws it: its triggers, its steps, what waits for what. Of a Python workflow that is
    what its code shows; the file is executed, as `check` does."""
    connect()
    from connectors.kit.descriptions import DESCRIPTIONS
    from flows.drawing.picture import Picture, graph_of

    path, _, name = workflow.partition(":")
    declaration = _declaration(Path(path), name)
    source = Path(path).read_text(encoding="utf-8-sig")
    picture = Picture(declaration.name, graph_of(declaration, source, DESCRIPTIONS))
    if as_json:
        print_json(picture.document())
    elif graph or form or output:
        draw(picture, form, output)
    else:
        _print(declaration, picture)


def draw(picture: Picture, form: FormatName | None, output: Path | None) -> None:
    """Prints the picture as wide as the terminal is, or writes it to a file.

    Raises:
        InputError: the file can't be written.
    """
    form = form or (_OF_SUFFIX.get(output.suffix) if output else None) or "text"
    drawn = picture.draw(form, shutil.get_terminal_size((100, 0)).columns)
    if output is None:
        typer.echo(drawn)
        return
    try:
        output.write_text(f"{drawn}\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: {error.strerror}") from None


def _declaration(path: Path, name: str) -> Declaration:
    from ipaas.checking import load

    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    found = {one.name: one for one in load(path)}
    names = ", ".join(found)
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if not name:
        raise InputError(
            f"{path} has several workflows: say {path}:NAME, one of {names}" if found else f"{path} has no workflow"
        )
    if name not in found:
        raise NotFound(f"{path} has no workflow {name}; it has {names or 'none'}")
    return found[name]


def _print(declaration: Declaration, picture: Picture) -> None:
    triggers = [f"{node.kind} {node.label}" for node in picture.graph.nodes if node.id.startswith("<trigger")]
    print_fields(
        {
            "name": declaration.name,
            "description": declaration.description,
            "tags": ", ".join(declaration.tags),
            "triggers": ", ".join(triggers) or "none: it is started by hand",
            "concurrency": declaration.limit,
            "timeout": f"{declaration.timeout:g} s",
        }
    )
    typer.echo()
    edges = [edge for edge in picture.graph.every_edge() if not edge[0].startswith("<")]
    rows = [
        (node.id, node.kind, node.label, ", ".join(before for before, after in edges if after == node.id))
        for node in picture.graph.every_node()
        if node.is_step
    ]
    print_table(("STEP", "KIND", "DOES", "AFTER"), rows)
