"""`ipaas credentials`: secrets, set once and never shown again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipaas.cli.output import AsJson, print_fields, print_json, print_table
from ipaas.cli.session import InputError, connect, read_json, run

if TYPE_CHECKING:
    from blocks import Credential, CredentialField
    from foundation.settings import Settings
    from ipaas.credentials import CredentialView

credentials = typer.Typer(help="Secrets: set, connect, list, show, delete, test. Alone: list.")

Name = Annotated[str, typer.Argument(help="The credential's name.")]
OfType = Annotated[
    str | None, typer.Option("--type", help="Its type; needed only when several types have one of that name.")
]


@credentials.callback(invoke_without_command=True)
def by_default(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_credentials(as_json)


@credentials.command("set")
def set_credential(
    name: Name,
    type_name: Annotated[str, typer.Option("--type", help="slack, webhook-secret, bearer, …: what it is for.")],
) -> None:
    """Creates or replaces a credential: asks for its fields, or reads them as a JSON object from standard input."""
    connect()
    from blocks import credential_type
    from blocks.documents import check_name
    from connectors.kit.registry import load_connectors

    load_connectors()
    kind = credential_type(type_name)
    check_name(name)
    if sys.stdin.isatty():
        values = _asked(kind.describe_fields())
    else:
        values = read_json("-")
        if not isinstance(values, dict):
            raise InputError(f"standard input: give one JSON object with {', '.join(kind.model_fields)}")
    run(_save(name, kind, values))
    typer.echo(f"credential {name} of type {type_name} is set", err=True)


@credentials.command("list")
def list_credentials(as_json: AsJson = False) -> None:
    """Every credential's name, type and the keys it is sealed with, its tokens, and who uses it."""
    views = run(_views(connect()))
    if as_json:
        print_json({"items": [view.model_dump(mode="json") for view in views]})
        return
    rows = [
        (
            view.name,
            view.type,
            ", ".join(view.key_ids),
            view.tokens.state if view.tokens else "",
            ", ".join(view.used_by),
            view.updated,
        )
        for view in views
    ]
    print_table(("CREDENTIAL", "TYPE", "SEALED WITH", "TOKENS", "USED BY", "UPDATED"), rows)


@credentials.command()
def show(name: Name, type_name: OfType = None, as_json: AsJson = False) -> None:
    """What is not secret of a credential, which secrets are set, and who uses it."""
    view = run(the_credential(connect(), name, type_name))
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    lists = {"sealed with": view.key_ids, "unsealed": view.unsealed, "used by": view.used_by}
    tokens = view.tokens.model_dump(exclude_none=True) if view.tokens else {}
    print_fields(
        {"name": view.name, "type": view.type, "created": view.created, "updated": view.updated}
        | {label: ", ".join(several) for label, several in lists.items()}
        | {f"tokens {label.replace('_', ' ')}": value for label, value in tokens.items()}
        | {field: _shown(field in view.secret, value) for field, value in view.fields.items()}
    )


@credentials.command()
def delete(name: Name, type_name: OfType = None) -> None:
    """Deletes a credential; what uses it fails from then on."""
    view = run(_delete(connect(), name, type_name))
    users = f"; {', '.join(view.used_by)} can't use it any more" if view.used_by else ""
    typer.echo(f"credential {name} is deleted{users}", err=True)


@credentials.command("test")
def try_out(name: Name, type_name: OfType = None, as_json: AsJson = False) -> None:
    """Opens a credential and, where that is cheap and changes nothing, asks its system whether it works."""
    slug, said = run(_test(connect(), name, type_name))
    if as_json:
        print_json({"name": name, "type": slug, "opens": True, "answer": said})
    else:
        typer.echo(f"{name} opens; {said or f'there is nothing to ask for type {slug}'}")


def _asked(fields: Sequence[CredentialField]) -> dict[str, Any]:
    """The values that a person types in; secrets are not echoed."""
    values: dict[str, Any] = {}
    for field in fields:
        typer.echo(field.description)
        if field.many:
            values[field.name] = _asked_many(field)
        else:
            default = None if field.required else field.default
            value = typer.prompt(field.title, hide_input=field.secret, default=default, show_default=not field.secret)
            values[field.name] = value
    return values


def _asked_many(field: CredentialField) -> list[str]:
    found: list[str] = []
    while value := typer.prompt(
        f"{field.title} (empty: no more)", hide_input=field.secret, default="", show_default=False
    ):
        found.append(value)
    return found


def _shown(secret: bool, value: Any) -> Any:
    if not secret:
        return value
    if isinstance(value, bool):
        return "set" if value else "not set"
    return f"{value} set"


async def _save(name: str, kind: type[Credential], values: dict[str, Any]) -> None:
    from blocks import save_credential
    from ipaas.connection import prefect

    await save_credential(name, kind, values, connect=prefect)


async def _views(settings: Settings) -> list[CredentialView]:
    from foundation.clock import SystemClock
    from ipaas.connection import history_if_any, prefect
    from ipaas.credentials import credential_views

    async with history_if_any(settings) as store:
        return await credential_views(store, prefect, SystemClock())


async def the_credential(settings: Settings, name: str, type_name: str | None) -> CredentialView:
    """Raises CredentialError: there is none, or several types have one of that name."""
    from blocks import credential_type
    from connectors.kit.registry import load_connectors
    from foundation.errors import CredentialError

    load_connectors()
    if type_name:
        credential_type(type_name)
    found = [one for one in await _views(settings) if one.name == name and type_name in (None, one.type)]
    if not found:
        of_type = f" of type {type_name}" if type_name else ""
        raise CredentialError(f"credential {name!r}{of_type} does not exist: see `ipaas credentials`")
    if len(found) > 1:
        types = ", ".join(one.type for one in found)
        raise CredentialError(f"{name!r} names credentials of types {types}: say which with --type")
    return found[0]


async def _delete(settings: Settings, name: str, type_name: str | None) -> CredentialView:
    from blocks import credential_type, delete_credential
    from ipaas.connection import history_if_any, prefect

    one = await the_credential(settings, name, type_name)
    await delete_credential(name, credential_type(one.type), connect=prefect)
    async with history_if_any(settings) as store:
        if store:
            await store.forget_token(name, one.type)
    return one


async def _test(settings: Settings, name: str, type_name: str | None) -> tuple[str, str | None]:
    from blocks import MemoryTokens, PrefectCredentials, TokenCredential, credential_type
    from connectors.kit.call import Services
    from connectors.kit.credential_check import check_credential
    from connectors.kit.http_client import new_client
    from connectors.kit.usable_credentials import usable_credentials
    from flows.expressions import render_template
    from foundation.clock import SystemClock
    from foundation.masking import process_masker
    from ipaas.connection import history_if_any, prefect

    one = await the_credential(settings, name, type_name)
    clock, stored = SystemClock(), PrefectCredentials(connect=prefect)
    async with (
        history_if_any(settings) as store,
        new_client(egress_allow=settings.egress_allow) as http,
        usable_credentials(
            stored, store or MemoryTokens(), http, settings, clock=clock, masker=process_masker
        ) as source,
    ):
        credential = await source.get(name, credential_type(one.type))
        services = Services(
            http=http,
            credentials=source,
            clock=clock,
            masker=process_masker,
            render=render_template,
            connectors=settings.connectors,
        )
        said = await check_credential(name, one.type, services)
    return one.type, said or ("it has a good token" if isinstance(credential, TokenCredential) else None)
