"""Commands of authors: `check`, `deploy`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from blocks.settings import Settings
from ipaas.cli.output import AsJson, print_json, print_table
from ipaas.environment import use_running_platform

authoring = typer.Typer()

Paths = Annotated[list[Path] | None, typer.Argument(help="Files and folders; default: the shipped workflows.")]


@authoring.command()
def check(paths: Paths = None, as_json: AsJson = False) -> None:
    """Checks workflows without starting anything: `file:line: message`; exit code 1 on any error."""
    from ipaas.publish import CATALOG
    from ipaas.publish import check as check_paths

    faults = check_paths(paths or [CATALOG])
    if as_json:
        print_json([{"file": fault.file, "line": fault.line, "message": fault.message} for fault in faults])
    else:
        for fault in faults:
            typer.echo(str(fault), err=True)
    raise typer.Exit(1 if faults else 0)


@authoring.command()
def deploy(paths: Paths = None, as_json: AsJson = False) -> None:
    """Checks, publishes a version of each workflow and makes its Prefect deployment."""
    settings = Settings()
    use_running_platform(settings)
    asyncio.run(_deploy(settings, paths, as_json))


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
