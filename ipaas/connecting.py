"""Connecting a credential: a person consents once, and its tokens are kept from then on.

In a browser: the consent page sends it back to the gateway, with a code and with the state that it was sent out with.
The state is sealed, tells which credential is meant, and is good once and for a short time. Where there is no browser,
the person types a device's code in elsewhere.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from blocks import Keyring, OAuth2, TokenStore
from blocks.sealed_text import Place
from blocks.token_credential import TokenCredential, TokenRefused
from connectors.kit.call import CredentialSource
from connectors.kit.token_requests import TokenServer
from foundation.clock import Clock
from foundation.errors import CredentialError

CALLBACK: Final = "/oauth/callback"
"""Where consent pages send browsers back to, at the gateway."""
CONSENT_SECONDS: Final = 600.0
"""How long a person has to consent."""
DEVICE_INTERVAL: Final = 5.0
"""Seconds between looks whether a person has typed a device's code in, where the server names none: RFC 8628, 3.2."""

_PLACE: Final = Place("oauth2", "state")


class ConsentFailed(CredentialError):
    """A person's consent came to nothing. The message is for that person's browser, too."""


@dataclass(frozen=True)
class Device:
    """What a person types in, and where."""

    code: str
    user_code: str
    url: str
    interval: float
    until: datetime


class Connecting:
    """
    Args:
        credentials: where credentials come from; without their tokens.
        tokens: who keeps them.
        keyring: seals the state, for every process of the platform.
        gateway: its address, as browsers reach it.
    """

    def __init__(
        self,
        credentials: CredentialSource,
        tokens: TokenStore,
        server: TokenServer,
        keyring: Keyring,
        clock: Clock,
        *,
        gateway: str,
    ) -> None:
        self._credentials, self._tokens, self._server = credentials, tokens, server
        self._keyring, self._clock = keyring, clock
        self.redirect_uri = f"{gateway.rstrip('/')}{CALLBACK}"

    async def consent_url(self, name: str, *, by: str | None) -> str:
        """Where a person consents. What was begun before for this credential is void.

        Args:
            by: who is told when the tokens are lost.

        Raises:
            CredentialError: there is none of that name, or nobody is asked for it.
        """
        credential = await self._credentials.get(name, OAuth2)
        nonce, verifier = secrets.token_urlsafe(24), OAuth2.new_verifier()
        until = self._clock.now() + timedelta(seconds=CONSENT_SECONDS)
        state = {"name": name, "nonce": nonce, "verifier": verifier, "by": by, "until": until.isoformat()}
        url = credential.consent_url(
            redirect_uri=self.redirect_uri, state=self._keyring.seal(json.dumps(state), _PLACE), verifier=verifier
        )
        await self._tokens.begin_connecting(name, _SLUG, nonce)
        return url

    async def come_back(self, state: str, *, code: str | None, error: str | None) -> str:
        """Ends what `consent_url` began: a browser was sent back; the credential's name.

        Raises:
            ConsentFailed: the state is none of ours, or is over or spent; or the person said no.
            CredentialError: the code can't be exchanged.
        """
        known = self._known(state)
        name = str(known["name"])
        if not await self._tokens.end_connecting(name, _SLUG, known["nonce"]):
            raise ConsentFailed(f"this consent for {name} was used already, or a newer one was asked for")
        if error or not code:
            raise ConsentFailed(f"{name} is not connected: the other system says {error or 'nothing'}")
        credential = await self._credentials.get(name, OAuth2)
        request = credential.code_request(code, redirect_uri=self.redirect_uri, verifier=known["verifier"])
        await self._keep(name, credential, await self._server.ask(request), by=known["by"])
        return name

    async def device(self, name: str) -> Device:
        """Asks for a device's code.

        Raises:
            CredentialError: there is no such credential, it has no device codes, or none is given out.
        """
        credential = await self._credentials.get(name, OAuth2)
        answer = await self._server.ask(credential.device_request())
        try:
            return Device(
                str(answer["device_code"]),
                str(answer["user_code"]),
                str(answer.get("verification_uri") or answer["verification_url"]),  # Google's own word
                float(answer.get("interval", DEVICE_INTERVAL)),
                self._clock.now() + timedelta(seconds=float(answer["expires_in"])),
            )
        except (KeyError, TypeError, ValueError):
            raise CredentialError(f"credential {name!r}: no device code is in the answer") from None

    async def wait_for_device(self, name: str, device: Device, *, by: str | None) -> None:
        """Returns when the person has consented, and the tokens are kept.

        Raises:
            CredentialError: the person said no, or took too long.
        """
        credential, interval = await self._credentials.get(name, OAuth2), device.interval
        while self._clock.now() < device.until:
            await self._clock.sleep(interval)
            try:
                answer = await self._server.ask(credential.device_token_request(device.code))
                credential.tokens_in(answer, self._clock.now())
            except TokenRefused as error:
                if error.word == "slow_down":
                    interval += 5  # RFC 8628, 3.5
                elif error.lasting:
                    raise
                continue
            await self._keep(name, credential, answer, by=by)
            return
        raise CredentialError(f"credential {name!r}: nobody typed the code in in time")

    async def _keep(self, name: str, credential: TokenCredential, answer: Any, *, by: str | None) -> None:
        tokens = credential.tokens_in(answer, self._clock.now())
        sealed = credential.token_ring().seal(tokens.text(), credential.token_place(name))
        slug = credential.get_block_type_slug()
        await self._tokens.connect_token(name, slug, sealed, expires_in=tokens.expires_in, by=by)

    def _known(self, state: str) -> dict[str, Any]:
        """What the state says. Raises ConsentFailed."""
        try:
            known: dict[str, Any] = json.loads(self._keyring.open(state, _PLACE))
        except CredentialError:
            raise ConsentFailed("no consent was asked for with this address") from None
        if datetime.fromisoformat(known["until"]) < self._clock.now():
            raise ConsentFailed(f"the time to consent for {known['name']} is over: connect it again")
        return known


_SLUG: Final = OAuth2.get_block_type_slug()
