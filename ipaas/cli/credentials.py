"""`ipaas credentials`: secrets, set once and never shown again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipaas.cli.output import AsJson, print_fields, print_json, print_table
from ipaas.cli.session import InputError, connect, read_json, run

if TYPE_CHECKING:
    from blocks import Credential, CredentialField, StoredCredential
    from foundation.settings import Settings

credentials = typer.Typer(help="Secrets: set, list, show, delete, test. Alone: list.")

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
    """Every credential's name, type and the keys it is sealed with."""
    connect()
    stored = run(_stored())
    if as_json:
        print_json({"items": [_document(one) for one in stored]})
        return
    rows = [(one.name, one.type, ", ".join(one.key_ids), one.updated) for one in stored]
    print_table(("CREDENTIAL", "TYPE", "SEALED WITH", "UPDATED"), rows)


@credentials.command()
def show(name: Name, type_name: OfType = None, as_json: AsJson = False) -> None:
    """What is not secret of a credential, and which secrets are set."""
    connect()
    one = _document(run(_one(name, type_name)))
    if as_json:
        print_json(one)
        return
    fields, secret = one.pop("fields"), one.pop("secret")
    lists = {"sealed with": ", ".join(one.pop("key_ids")), "unsealed": ", ".join(one.pop("unsealed"))}
    print_fields(one | lists | {field: _shown(field in secret, value) for field, value in fields.items()})


@credentials.command()
def delete(name: Name, type_name: OfType = None) -> None:
    """Deletes a credential; what uses it fails from then on."""
    connect()
    run(_delete(name, type_name))
    typer.echo(f"credential {name} is deleted", err=True)


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


def _document(one: StoredCredential) -> dict[str, Any]:
    from blocks import credential_type

    return asdict(one) | {"secret": credential_type(one.type).secret_fields()}


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


async def _stored() -> Sequence[StoredCredential]:
    from blocks import list_credentials
    from connectors.kit.registry import load_connectors
    from ipaas.connection import prefect

    load_connectors()
    return await list_credentials(connect=prefect)


async def _one(name: str, type_name: str | None) -> StoredCredential:
    """Raises CredentialError: there is none, or several types have one of that name."""
    from blocks import credential_type
    from connectors.kit.registry import load_connectors
    from foundation.errors import CredentialError

    load_connectors()
    if type_name:
        credential_type(type_name)
    found = [one for one in await _stored() if one.name == name and type_name in (None, one.type)]
    if not found:
        of_type = f" of type {type_name}" if type_name else ""
        raise CredentialError(f"credential {name!r}{of_type} does not exist: see `ipaas credentials`")
    if len(found) > 1:
        types = ", ".join(one.type for one in found)
        raise CredentialError(f"{name!r} names credentials of types {types}: say which with --type")
    return found[0]


async def _delete(name: str, type_name: str | None) -> None:
    from blocks import credential_type, delete_credential
    from ipaas.connection import prefect

    one = await _one(name, type_name)
    await delete_credential(name, credential_type(one.type), connect=prefect)


async def _test(settings: Settings, name: str, type_name: str | None) -> tuple[str, str | None]:
    from blocks import PrefectCredentials, credential_type
    from connectors.kit.call import Services
    from connectors.kit.credential_check import check_credential
    from connectors.kit.http_client import new_client
    from flows.expressions import render_template
    from foundation.clock import SystemClock
    from foundation.masking import process_masker
    from ipaas.connection import prefect

    one = await _one(name, type_name)
    source = PrefectCredentials(connect=prefect)
    await source.get(name, credential_type(one.type))
    async with new_client(egress_allow=settings.egress_allow) as http:
        services = Services(
            http=http,
            credentials=source,
            clock=SystemClock(),
            masker=process_masker,
            render=render_template,
            connectors=settings.connectors,
        )
        return one.type, await check_credential(name, one.type, services)
