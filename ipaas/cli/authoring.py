"""Commands of authors: `check`, `deploy`, `diff`, `eject`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foundation.printable import printable
from foundation.settings import Settings
from ipaas.cli.output import AsJson, print_json, print_table
from ipaas.cli.session import connect, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.history import Workflow
    from ipaas.changes import Change, WorkflowChange

authoring = typer.Typer()

Paths = Annotated[list[Path] | None, typer.Argument(help="Files and folders; default: the shipped workflows.")]


@authoring.command()
def check(paths: Paths = None, as_json: AsJson = False) -> None:
    """Checks workflows without starting anything: `file:line: message`; exit code 1 on any error. A Python file that
    defines workflows is executed to read them, and named; no other one is."""
    connect()
    from ipaas.publish import CATALOG
    from ipaas.publish import check as check_paths

    faults = check_paths(paths or [CATALOG], executing=_say_what_is_executed)
    if as_json:
        print_json([{"file": fault.file, "line": fault.line, "message": fault.message} for fault in faults])
    else:
        for fault in faults:
            typer.echo(str(fault), err=True)
    raise typer.Exit(1 if faults else 0)


def _say_what_is_executed(path: Path) -> None:
    typer.echo(f"executes {printable(str(path))} to read its workflows", err=True)


@authoring.command()
def deploy(paths: Paths = None, as_json: AsJson = False) -> None:
    """Checks, publishes a version of each workflow and makes its Prefect deployment."""
    settings = connect()
    run(_deploy(settings, paths, as_json))


async def _deploy(settings: Settings, paths: list[Path] | None, as_json: bool) -> None:
    from ipaas.connection import history, prefect
    from ipaas.publish import CATALOG, compile_files
    from ipaas.publish import deploy as deploy_flows

    flows = compile_files(paths or [CATALOG])
    async with prefect() as client, history(settings) as store:
        await deploy_flows(client, store, flows)
    rows = [(flow.name, flow.published.version, flow.published.file) for flow in flows]
    if as_json:
        print_json([{"workflow": name, "version": version, "file": file} for name, version, file in rows])
    else:
        print_table(("WORKFLOW", "VERSION", "FILE"), rows)


@authoring.command()
def diff(paths: Paths = None, as_json: AsJson = False) -> None:
    """What a deploy of these files would change, step by step; changes nothing."""
    settings = connect()
    from ipaas.changes import compare
    from ipaas.publish import CATALOG, compile_files

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
        "gone": "not in these files any more; a deploy leaves it as it is (`ipaas workflows deactivate` stops it)",
    }[change.change]
    typer.echo(f"{change.workflow}  {said}")
    for one in change.changes if change.change == "changed" else _outline(change.changes):
        typer.echo(f"  {_SIGNS[one.change]} {one.path}{_values(one)}")
    for line in change.source:
        typer.echo(f"  {line}")


def _outline(changes: Sequence[Change]) -> Sequence[Change]:
    """A new workflow's triggers and steps; the rest is in its file."""
    return [change for change in _split_steps(changes) if change.path.startswith(("steps", "triggers"))]


def _split_steps(changes: Sequence[Change]) -> Sequence[Change]:
    from flows.language.kinds import kinds_in
    from ipaas.changes import Change

    split: list[Change] = []
    for change in changes:
        if change.path == "steps":
            outline = ((step, rest.get("uses") or kinds_in(rest)[0]) for step, rest in change.after.items())
            split += [Change(f"steps.{step}", "added", after=does) for step, does in outline]
        else:
            split.append(change)
    return split


def _values(change: Change) -> str:
    before, after = (json.dumps(value, ensure_ascii=False) for value in (change.before, change.after))
    return {"added": f": {after}", "removed": f": {before}", "changed": f": {before} → {after}"}[change.change]
