"""Where running workflows and the gateway get credentials from, by name and type."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from blocks.credential import Credential
from blocks.documents import Connect, load_credential, prefect_client
from blocks.keyring import Keyring, default_keyring
from foundation.clock import Clock, SystemClock
from foundation.errors import CredentialError
from foundation.masking import Masker, process_masker

C = TypeVar("C", bound=Credential)

TTL: Final = 5.0
"""Seconds for which a loaded credential is used without asking Prefect again."""
GRACE: Final = 3600.0
"""Seconds for which it is still used while Prefect does not answer, so that senders are verified during an outage."""

_log = logging.getLogger("ipaas.credentials")


@dataclass
class _Loaded:
    credential: Credential
    at: datetime
    """When Prefect last confirmed it."""
    checked: datetime
    """When Prefect was last asked."""


class PrefectCredentials:
    """Credentials from Prefect's block documents. One event loop.

    Args:
        keyring: opens them; None: this process's own.
        masker: learns every secret that is opened.
        ttl, grace: seconds; see `TTL` and `GRACE`.
        connect: opens a client of Prefect's API.
    """

    def __init__(
        self,
        keyring: Keyring | None = None,
        *,
        masker: Masker = process_masker,
        clock: Clock | None = None,
        ttl: float = TTL,
        grace: float = GRACE,
        connect: Connect = prefect_client,
    ) -> None:
        self._keyring, self._masker, self._clock = keyring, masker, clock or SystemClock()
        self._ttl, self._grace, self._connect = ttl, grace, connect
        self._loaded: dict[tuple[str, str], _Loaded] = {}
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, name: str, kind: type[C]) -> C:
        """The credential called `name`, opened.

        Raises:
            CredentialError: it does not exist, is of another type, or can't be opened; `retriable` when Prefect did not
                answer.
        """
        key = (name, kind.get_block_type_slug())
        async with self._locks[key]:  # callers that arrive together share one request
            known = self._loaded.get(key)
            if known is None or (self._clock.now() - known.checked).total_seconds() >= self._ttl:
                known = await self._refreshed(key, name, kind, known)
            assert isinstance(known.credential, kind)  # noqa: S101 (the key has the type; this tells mypy)
            return known.credential

    def forget(self) -> None:
        """The next `get` asks Prefect."""
        self._loaded.clear()

    async def _refreshed(
        self, key: tuple[str, str], name: str, kind: type[Credential], known: _Loaded | None
    ) -> _Loaded:
        try:
            credential = await load_credential(
                name, kind, keyring=self._keyring or default_keyring(), masker=self._masker, connect=self._connect
            )
        except CredentialError as error:
            now = self._clock.now()
            if error.retriable and known and (now - known.at).total_seconds() < self._grace:
                _log.warning("%s; credential %r is used as it was at %s", error, name, known.at.isoformat())
                known.checked = now
                return known
            self._loaded.pop(key, None)
            self._locks.pop(key, None)
            raise
        now = self._clock.now()
        loaded = self._loaded[key] = _Loaded(credential, at=now, checked=now)
        return loaded


class MemoryCredentials:
    """Credentials from a dict, for tests and for runs without a server: `{"team-slack": {"token": "xoxb-…"}}`."""

    def __init__(
        self, credentials: Mapping[str, Credential | Mapping[str, Any]], *, masker: Masker = process_masker
    ) -> None:
        self._credentials, self._masker = dict(credentials), masker
        self._keyring = Keyring.generate()

    async def get(self, name: str, kind: type[C]) -> C:
        """The credential called `name`, opened.

        Raises:
            CredentialError: it does not exist, or is of another type.
        """
        slug, given = kind.get_block_type_slug(), self._credentials.get(name)
        if given is None:
            raise CredentialError(f"credential {name!r} of type {slug} does not exist: give it to this run")
        if isinstance(given, Mapping):
            credential = kind.from_values(given, keyring=self._keyring, masker=self._masker)
        elif isinstance(given, kind):
            credential = given
        else:
            raise CredentialError(f"credential {name!r} is of type {given.get_block_type_slug()}, not {slug}")
        credential.open_all()
        return credential
