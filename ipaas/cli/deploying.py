"""`ipaas deploy`: files, or an older version, become what runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipaas.cli.authoring import Paths
from ipaas.cli.output import AsJson, print_json, print_table
from ipaas.cli.session import InputError, connect, run

if TYPE_CHECKING:
    from flows.history import Workflow, WorkflowVersion
    from foundation.settings import Settings

deploying = typer.Typer()

Version = Annotated[
    str | None, typer.Option(help="Go back: PATHS is a workflow's name, and this version of it runs again.")
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Deactivate what was published from PATHS and is not found there any more.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before deactivating.")]


@deploying.command()
def deploy(
    paths: Paths = None, version: Version = None, prune: Prune = False, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Checks, publishes a version of each workflow and makes its Prefect deployment."""
    if version is not None and (prune or len(paths or ()) != 1):
        raise typer.BadParameter("goes with the name of one workflow, like `ipaas deploy orders --version V`")
    settings = connect()
    if version is not None:
        run(_go_back(settings, str((paths or [])[0]), version, as_json))
    else:
        run(_deploy(settings, paths, prune, yes, as_json))


async def _go_back(settings: Settings, name: str, version: str, as_json: bool) -> None:
    from ipaas.connection import history, prefect
    from ipaas.publish import go_back

    async with prefect() as client, history(settings) as store:
        _print([await go_back(client, store, name, version)], as_json)


async def _deploy(settings: Settings, paths: list[Path] | None, prune: bool, yes: bool, as_json: bool) -> None:
    from ipaas import operations
    from ipaas.changes import gone
    from ipaas.checking import CATALOG
    from ipaas.connection import history, prefect
    from ipaas.credentials import missing_here
    from ipaas.publish import compile_files
    from ipaas.publish import deploy as deploy_flows

    files = paths or [CATALOG]
    flows = compile_files(files)
    versions = [flow.published for flow in flows]
    async with prefect() as client, history(settings) as store:
        going = gone(files, versions, await store.workflows()) if prune else []
        if going and not yes:
            _ask(going)
        for fault in await missing_here(versions, lambda: nullcontext(client)):
            typer.echo(f"warning: {fault}", err=True)
        await deploy_flows(client, store, flows)
        for workflow in going:
            await operations.set_active(store, client, workflow.name, False)
    _print(versions, as_json, going)


def _ask(going: Sequence[Workflow]) -> None:
    """Raises InputError when there is nobody to ask; ends the command when the answer is no."""
    for workflow in going:
        typer.echo(f"{workflow.name}: {workflow.current.file} does not define it any more", err=True)
    if not sys.stdin.isatty():
        raise InputError("--prune would deactivate these workflows: say --yes; nothing was deployed")
    typer.confirm(
        "Deactivate? Their hooks answer 409, their schedules pause; what was accepted runs", abort=True, err=True
    )


def _print(versions: Sequence[WorkflowVersion], as_json: bool, going: Sequence[Workflow] = ()) -> None:
    if as_json:
        rows: list[dict[str, Any]] = [_row(version) for version in versions]
        print_json([*rows, *(_row(workflow.current) | {"deactivated": True} for workflow in going)])
        return
    print_table(("WORKFLOW", "VERSION", "FILE"), [tuple(_row(version).values()) for version in versions])
    for workflow in going:
        typer.echo(f"{workflow.name} is deactivated: `ipaas workflows activate {workflow.name}` opens it again")


def _row(version: WorkflowVersion) -> dict[str, Any]:
    return {"workflow": version.workflow, "version": version.version, "file": version.file}
