"""The command line. Commands import what they need when they run: Prefect takes seconds, `--help` should not."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from foundation.errors import IpaasError
from ipaas.cli.approvals import approvals
from ipaas.cli.authoring import authoring
from ipaas.cli.cases import cases
from ipaas.cli.connecting import connecting
from ipaas.cli.connectors import connectors
from ipaas.cli.credentials import credentials
from ipaas.cli.database import database
from ipaas.cli.deploying import deploying
from ipaas.cli.executions import executions
from ipaas.cli.keys import keys
from ipaas.cli.running import running
from ipaas.cli.serving import serving
from ipaas.cli.showing import showing
from ipaas.cli.workflows import workflows
from ipaas.failing import fail

app = typer.Typer(
    name="ipaas",
    help="Webhooks in, workflows in YAML or Python, every execution a Prefect flow run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (serving, authoring, deploying, showing, cases, running):
    app.registered_commands += commands.registered_commands
credentials.registered_commands += connecting.registered_commands
for name, group in {
    "workflows": workflows,
    "executions": executions,
    "approvals": approvals,
    "credentials": credentials,
    "keys": keys,
    "connectors": connectors,
    "db": database,
}.items():
    app.add_typer(group, name=name)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"prefect-ipaas {version('prefect-ipaas')}, Prefect {version('prefect')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="This version, and Prefect's."),
    ] = False,
) -> None:
    return


def main() -> None:
    """Runs the command. What can be expected to go wrong is one line on standard error and exit code 1."""
    try:
        app()
    except (IpaasError, OSError) as error:
        fail(error)
        sys.exit(1)
    except Exception as error:
        import httpx

        if not isinstance(error, httpx.HTTPError):
            raise
        fail(IpaasError(f"Prefect's API did not answer as it should: {type(error).__name__}: {error}"))
        sys.exit(1)
