"""`ipaas credentials connect`: a person consents, and the platform has tokens from then on."""

from __future__ import annotations

import asyncio
import getpass
import sys
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from ipaas.cli.credentials import Name, OfType, the_credential
from ipaas.cli.output import AsJson, print_json
from ipaas.cli.session import connect, run

if TYPE_CHECKING:
    from flows.history import HistoryStore
    from foundation.settings import Settings
    from ipaas.connecting import Connecting

connecting = typer.Typer()

LOOK_SECONDS = 1.0

By = Annotated[
    str | None, typer.Option(metavar="NAME", help="Who is told when it must be connected again; default: you.")
]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the consent page here.")]


@connecting.command("connect")
def connect_credential(
    name: Name, type_name: OfType = None, by: By = None, browser: Browser = True, as_json: AsJson = False
) -> None:
    """Opens the consent page of a credential's system, and waits until somebody has consented."""
    settings = connect()
    said = run(_connected(settings, name, type_name, by or getpass.getuser(), browser and sys.stdout.isatty()))
    if as_json:
        print_json({"name": name, "connected": True, "by": by or getpass.getuser()})
    else:
        typer.echo(said)


async def _connected(settings: Settings, name: str, type_name: str | None, by: str, browser: bool) -> str:
    from blocks import Keyring, OAuth2, PrefectCredentials, use_keyring
    from connectors.kit.http_client import new_client
    from connectors.kit.secrets.source import ExternalSecrets
    from connectors.kit.secrets.store import Surroundings
    from connectors.kit.token_requests import TokenServer
    from foundation.clock import SystemClock
    from foundation.errors import CredentialError
    from foundation.masking import process_masker
    from ipaas.connecting import Connecting
    from ipaas.connection import history, prefect
    from ipaas.platform.environment import Addresses

    one = await the_credential(settings, name, type_name)
    if one.type != OAuth2.get_block_type_slug() or one.fields["grant"] == "client_credentials":
        raise CredentialError(f"credential {name!r} needs no consent: `ipaas credentials test {name}` tries it out")
    keyring, clock, addresses = Keyring.from_settings(settings), SystemClock(), Addresses.read(settings)
    use_keyring(keyring)
    gateway = settings.public_url or (addresses.gateway if addresses else settings.gateway_url)
    async with history(settings) as store, new_client(egress_allow=settings.egress_allow) as http:
        server = TokenServer(http, clock=clock, masker=process_masker)
        source = ExternalSecrets(PrefectCredentials(connect=prefect), Surroundings(settings, http, clock))
        flow = Connecting(source, store, server, keyring, clock, gateway=gateway)
        if one.fields["grant"] == "device_code":
            await _by_device(flow, name, by)
        else:
            await _in_browser(flow, store, name, by, browser)
    return f"{name} is connected"


async def _by_device(flow: Connecting, name: str, by: str) -> None:
    device = await flow.device(name)
    typer.echo(f"go to {device.url} and type in {device.user_code}", err=True)
    await flow.wait_for_device(name, device, by=by)


async def _in_browser(flow: Connecting, store: HistoryStore, name: str, by: str, browser: bool) -> None:
    """Raises CredentialError: nobody consented in time."""
    from blocks import OAuth2
    from foundation.errors import CredentialError
    from ipaas.connecting import CONSENT_SECONDS

    slug = OAuth2.get_block_type_slug()
    before = await store.token(name, slug)
    url = await flow.consent_url(name, by=by)
    typer.echo(f"consent here; the vendor must know {flow.redirect_uri} as a redirect address:\n{url}", err=True)
    if browser:
        webbrowser.open(url)
    try:
        async with asyncio.timeout(CONSENT_SECONDS):
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                now = await store.token(name, slug)
                if now and now.connected_at != (before.connected_at if before else None):
                    return
    except TimeoutError:
        raise CredentialError(f"nobody consented for {name!r} in time") from None
