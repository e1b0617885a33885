"""The command line. Commands import what they need when they run: Prefect takes seconds, `--help` should not."""

from __future__ import annotations

import sys

import typer

from blocks.errors import IpaasError
from ipaas.cli.authoring import authoring
from ipaas.cli.operating import operating
from ipaas.cli.output import fail
from ipaas.cli.serving import serving

app = typer.Typer(
    name="ipaas",
    help="Webhooks in, workflows in YAML or Python, every execution a Prefect flow run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (serving, authoring, operating):
    app.registered_commands += commands.registered_commands
    app.registered_groups += commands.registered_groups


def main() -> None:
    """Runs the command; an error of ours is one line on standard error and exit code 1."""
    try:
        app()
    except IpaasError as error:
        fail(error)
        sys.exit(1)
