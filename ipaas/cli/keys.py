"""`ipaas keys`: what credentials are sealed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ipaas.cli.output import AsJson, print_json, print_table
from ipaas.cli.session import connect, read_settings, run

if TYPE_CHECKING:
    from blocks import Keyring
    from foundation.settings import Settings

keys = typer.Typer(help="Encryption keys: new, list, rotate. Alone: list.")


@keys.callback(invoke_without_command=True)
def by_default(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_keys(as_json)


@keys.command("new")
def new_key() -> None:
    """Puts a fresh key in front of the key file; with IPAAS_ENCRYPTION_KEYS set, prints one to put there."""
    settings = read_settings()
    from blocks.keyring import Keyring, add_key  # by itself: it needs no Prefect

    if settings.encryption_keys:
        typer.echo("put this in front of IPAAS_ENCRYPTION_KEYS, with a comma, wherever ipaas runs:", err=True)
        typer.echo(Keyring.new_key())
        typer.echo("then start the parts again, and run `ipaas keys rotate`", err=True)
    else:
        typer.echo(f"key {add_key(settings)} is now the newest in {settings.key_file}", err=True)
        typer.echo("back the file up, then run `ipaas keys rotate`", err=True)


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """The keys' ids, newest first; never the keys."""
    settings = read_settings()
    from blocks.keyring import Keyring

    ring = Keyring.from_settings(settings)
    source = "IPAAS_ENCRYPTION_KEYS" if settings.encryption_keys else str(settings.key_file)
    rows = [(key_id, "seals and opens" if number == 0 else "opens") for number, key_id in enumerate(ring.key_ids)]
    if as_json:
        print_json({"source": source, "items": [{"id": key_id, "use": use} for key_id, use in rows]})
    else:
        print_table(("KEY", "USE"), rows)
        typer.echo(f"from {source}", err=True)


@keys.command()
def rotate(as_json: AsJson = False) -> None:
    """Seals every credential, and its tokens, with the newest key, so that the older ones can be removed."""
    settings = connect()
    from blocks import Keyring

    ring = Keyring.from_settings(settings)
    changed = run(_rotate(settings, ring))
    if as_json:
        print_json({"sealed_anew": changed, "key": ring.key_ids[0], "not_needed": ring.key_ids[1:]})
        return
    typer.echo(f"{changed} credentials sealed anew; all are sealed with key {ring.key_ids[0]}")
    if ring.key_ids[1:]:
        typer.echo(f"not needed any more: {', '.join(ring.key_ids[1:])}")


async def _rotate(settings: Settings, ring: Keyring) -> int:
    """How many credentials changed."""
    from blocks import reseal_all
    from connectors.kit.registry import load_connectors
    from ipaas.connection import history_if_any, prefect
    from ipaas.credentials import reseal_tokens

    load_connectors()
    changed = await reseal_all(ring, connect=prefect)
    async with history_if_any(settings) as store:
        if store:
            await reseal_tokens(store, ring, prefect)
    return changed
