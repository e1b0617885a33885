"""Commands of authors: `check`, `schema`, `diff`, `eject`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foundation.printable import printable
from ipaas.cli.output import AsJson, print_json
from ipaas.cli.session import connect, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.history import Workflow
    from foundation.errors import DefinitionError
    from foundation.settings import Settings
    from ipaas.changes import Change, WorkflowChange

authoring = typer.Typer()

Paths = Annotated[list[Path] | None, typer.Argument(help="Files and folders; default: the shipped workflows.")]


Against = Annotated[
    str | None,
    typer.Option(
        metavar="HOME|URL", help="Also say what is missing at another platform: its home, or its gateway's address."
    ),
]


@authoring.command()
def check(paths: Paths = None, against: Against = None, as_json: AsJson = False) -> None:
    """Checks workflows without starting anything: `file:line:column: message`; exit code 1 on any error. A Python file
    that defines workflows is executed to read them, and named; no other one is."""
    settings = connect()
    from ipaas.checking import CATALOG
    from ipaas.checking import check as check_paths

    files = paths or [CATALOG]
    faults = check_paths(files, executing=_say_what_is_executed)
    if against and not faults:
        faults = run(_missing_there(settings, files, against))
    if as_json:
        print_json([{key: getattr(fault, key) for key in ("file", "line", "column", "message")} for fault in faults])
    else:
        for fault in faults:
            typer.echo(str(fault), err=True)
    raise typer.Exit(1 if faults else 0)


async def _missing_there(settings: Settings, paths: list[Path], against: str) -> list[DefinitionError]:
    from ipaas.promotion import missing_there
    from ipaas.publish import compile_files

    return await missing_there([flow.published for flow in compile_files(paths)], against, settings)


@authoring.command()
def schema() -> None:
    """Prints the JSON Schema of workflow files, with every action there is, for editors to complete and check with."""
    from connectors.kit.descriptions import DESCRIPTIONS
    from flows.language.schema import language_schema

    print_json(language_schema(DESCRIPTIONS))


def _say_what_is_executed(path: Path) -> None:
    typer.echo(f"executes {printable(str(path))} to read its workflows", err=True)


@authoring.command()
def diff(paths: Paths = None, as_json: AsJson = False) -> None:
    """What a deploy of these files would change, step by step; changes nothing."""
    settings = connect()
    from ipaas.changes import compare
    from ipaas.checking import CATALOG
    from ipaas.publish import compile_files

    files = paths or [CATALOG]
    found = [flow.published for flow in compile_files(files)]
    changes = compare(files, found, run(_published(settings)))
    if as_json:
        print_json({"items": [change.document() for change in changes]})
    else:
        for change in changes:
            _print_change(change)


@authoring.command()
def eject(path: Annotated[Path, typer.Argument(help="A YAML workflow.")]) -> None:
    """Writes the equivalent Python of a YAML workflow. What has none is refused: `file:line: message`."""
    connect()
    from ipaas.eject import eject as as_python

    typer.echo(as_python(path), nl=False)


async def _published(settings: Settings) -> Sequence[Workflow]:
    from ipaas.connection import history

    async with history(settings) as store:
        return await store.workflows()


_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def _print_change(change: WorkflowChange) -> None:
    versions = f" {change.published} → {change.version}" if change.published != change.version else ""
    said = {
        "new": f"new: {change.version}",
        "changed": f"changed:{versions}",
        "unchanged": f"only comments or layout:{versions}" if versions else "unchanged",
        "gone": "not in these files any more; a deploy leaves it as it is (`ipaas deploy --prune` deactivates it)",
    }[change.change]
    typer.echo(f"{change.workflow}  {said}")
    for one in change.changes if change.change == "changed" else _outline(change.changes):
        typer.echo(f"  {_SIGNS[one.change]} {one.path}{_values(one)}")
    for line in change.source:
        typer.echo(f"  {line}")


def _outline(changes: Sequence[Change]) -> Sequence[Change]:
    """A new workflow's triggers and steps; the rest is in its file."""
    from ipaas.changes import Change

    outline: list[Change] = []
    for change in changes:
        if change.path in ("steps", "on_failure"):
            outline += [Change(path, "added", after=does) for path, does in _steps(change.path, change.after)]
        elif change.path == "triggers":
            outline.append(change)
    return outline


def _steps(path: str, value: object) -> Iterator[tuple[str, str]]:
    """What each step in a block does, by its path, those inside others behind them."""
    from flows.language.kinds import kinds_in
    from flows.language.step import StepsById

    if not isinstance(value, Mapping):
        return
    for key, part in value.items():
        if isinstance(value, StepsById):
            yield f"{path}.{key}", part.get("uses") or kinds_in(part)[0]
        yield from _steps(f"{path}.{key}", part)


def _values(change: Change) -> str:
    before, after = (json.dumps(value, ensure_ascii=False) for value in (change.before, change.after))
    return {"added": f": {after}", "removed": f": {before}", "changed": f": {before} → {after}"}[change.change]
