"""`ipaas db`: the history's tables and what is kept in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ipaas.cli.output import AsJson, print_json
from ipaas.cli.session import connect, run

if TYPE_CHECKING:
    from foundation.settings import Settings

database = typer.Typer(help="The history's database: upgrade, prune, check.", no_args_is_help=True)


def _seconds(text: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from foundation.duration import Seconds

    try:
        return TypeAdapter(Seconds).validate_python(text)
    except ValidationError:
        raise typer.BadParameter(f"{text!r} is no duration like 30d") from None


@database.command("upgrade")
def upgrade_database() -> None:
    """Brings the tables to this version's; safe to repeat."""
    settings = connect()
    from flows.history.migrations import upgrade
    from ipaas.platform.home import prepare_home

    if settings.database_url is None:
        prepare_home(settings.home)
    run(upgrade(settings.database))
    typer.echo("the history's tables are this version's", err=True)


@database.command()
def check(as_json: AsJson = False) -> None:
    """Whether the database answers and its tables are this version's."""
    settings = connect()
    counts = run(_check(settings))
    if as_json:
        print_json({"ok": True, "executions": counts})
        return
    typer.echo("the history's database answers, and its tables are this version's")
    typer.echo(f"executions: {', '.join(f'{number} {status}' for status, number in counts.items()) or 'none'}")


@database.command()
def prune(
    older_than: Annotated[
        float | None,
        typer.Option(
            parser=_seconds, metavar="DURATION", help="Ended so long ago, like 30d; default: IPAAS_RETENTION."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Deletes ended executions, with their events and steps, as the gateway does every few minutes."""
    settings = connect()
    pruned = run(_prune(settings, settings.retention if older_than is None else older_than))
    if as_json:
        print_json({"pruned": pruned})
    else:
        typer.echo(f"{pruned} executions deleted")


async def _check(settings: Settings) -> dict[str, int]:
    from ipaas.connection import history

    async with history(settings) as store:
        await store.ping()
        return {str(status): number for status, number in (await store.counts()).items()}


async def _prune(settings: Settings, seconds: float) -> int:
    from foundation.clock import SystemClock
    from ipaas.connection import history
    from ipaas.platform.retention import prune

    async with history(settings) as store:
        return await prune(store, SystemClock(), older_than=seconds, keep=settings.retention_count)
