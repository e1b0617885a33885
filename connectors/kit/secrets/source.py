"""Credentials whose references stand for something: asked for when they are used, remembered for a bounded time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from typing import Final, TypeVar

from blocks.credential import Credential
from blocks.references import GROUP, LITERAL
from connectors.kit.call import CredentialSource
from connectors.kit.secrets.aws import AwsSecretsManager
from connectors.kit.secrets.local import Environment, Files
from connectors.kit.secrets.store import MakeStore, SecretStore, Surroundings
from connectors.kit.secrets.vault import Vault
from foundation.errors import ConfigurationError, CredentialError

C = TypeVar("C", bound=Credential)

GRACE: Final = 3600.0
"""Seconds for which a secret is still used while the place that keeps it does not answer."""
AHEAD: Final = 0.9
"""The part of its time after which a secret is asked for again behind its users."""
PAUSE: Final = 10.0
"""Seconds until a place that did not answer is asked for the same secret again."""
LOCAL_TTL: Final = 5.0
"""Seconds for which a secret of the environment or of a file is used before another look."""

logger = logging.getLogger("ipaas.credentials")

BUILT_IN: Final[Mapping[str, MakeStore]] = {
    "aws": AwsSecretsManager,
    "env": lambda around: Environment(),
    "file": lambda around: Files(around.settings.secrets_dirs),
    "vault": Vault,
}


@dataclass
class _Known:
    secret: str
    at: datetime
    """When it was read."""
    ahead: datetime
    """When it is asked for again, behind whoever uses it."""
    due: datetime
    """When users wait for that."""


class ExternalSecrets:
    """A `CredentialSource` over another one. One event loop.

    Args:
        stores: instead of the built-in ones; for tests.
    """

    def __init__(
        self, credentials: CredentialSource, around: Surroundings, stores: Mapping[str, MakeStore] = BUILT_IN
    ) -> None:
        self._credentials, self._around, self._makers = credentials, around, stores
        self._stores: dict[str, SecretStore] = {}
        self._known: dict[str, _Known] = {}
        self._reading: dict[str, asyncio.Task[str]] = {}

    async def get(self, name: str, kind: type[C]) -> C:
        """The credential called `name`, opened, with what its references stand for.

        Raises:
            CredentialError: as of the other source; or a reference leads nowhere.
        """
        credential = await self._credentials.get(name, kind)
        if references := credential.references():
            try:
                credential.resolve({one: await self._secret(one) for one in references})
            except CredentialError as error:
                raise CredentialError(f"credential {name!r}: {error}", retriable=error.retriable) from None
        return credential

    async def _secret(self, reference: str) -> str:
        scheme, _, where = reference.partition(":")
        if scheme == LITERAL:
            return where
        known, now = self._known.get(reference), self._around.clock.now()
        if known and now < known.ahead:
            return known.secret
        if reference not in self._reading:
            reading = self._reading[reference] = asyncio.create_task(self._read(reference, scheme, where))
            reading.add_done_callback(lambda done: self._done(reference, done))
        if known and now < known.due:
            return known.secret
        return await asyncio.shield(self._reading[reference])

    def _done(self, reference: str, reading: asyncio.Task[str]) -> None:
        del self._reading[reference]
        if not reading.cancelled():
            reading.exception()  # whoever waits for it raises it

    async def _read(self, reference: str, scheme: str, where: str) -> str:
        clock = self._around.clock
        try:
            secret = await self._store(scheme).read(where)
        except ConfigurationError as error:
            raise CredentialError(str(error)) from None
        except CredentialError as error:
            known = self._known.get(reference)
            if not error.retriable or known is None or (clock.now() - known.at).total_seconds() >= GRACE:
                self._known.pop(reference, None)
                raise
            logger.warning("%s does not answer (%s): what it said at %s is used", reference, error, known.at)
            known.ahead = known.due = clock.now() + timedelta(seconds=PAUSE)
            return known.secret
        if not secret:
            raise CredentialError(f"{reference} is empty")
        ttl = LOCAL_TTL if scheme in ("env", "file") else self._around.settings.secrets_ttl
        now = clock.now()
        self._known[reference] = _Known(secret, now, now + timedelta(seconds=ttl * AHEAD), now + timedelta(seconds=ttl))
        return secret

    def _store(self, scheme: str) -> SecretStore:
        """Raises CredentialError, ConfigurationError."""
        if scheme not in self._stores:
            self._stores[scheme] = self._maker(scheme)(self._around)
        return self._stores[scheme]

    def _maker(self, scheme: str) -> Callable[[Surroundings], SecretStore]:
        if scheme in self._makers:
            return self._makers[scheme]
        for plugin in entry_points(group=GROUP, name=scheme):
            made: MakeStore = plugin.load()
            return made
        raise CredentialError(f"nothing here reads {scheme}: references")
