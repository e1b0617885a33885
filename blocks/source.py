"""Where running workflows and the gateway get credentials from, by name and type."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from blocks.credential import Credential
from blocks.documents import Connect, load_credential, prefect_client
from blocks.keyring import Keyring, default_keyring
from blocks.token_credential import TokenCredential
from foundation.clock import Clock, SystemClock
from foundation.errors import CredentialError
from foundation.masking import Masker, process_masker

C = TypeVar("C", bound=Credential)

TTL: Final = 5.0
"""Seconds for which a loaded credential is current: a change or deletion in Prefect is seen after this."""
AHEAD: Final = 0.9
"""The part of that after which it is loaded anew behind whoever uses it: in steady use nobody waits for Prefect."""
PATIENCE: Final = 0.5
"""Seconds that a user waits for Prefect when a known credential is not current: one that does not answer must not slow
a sender, and one that does tells what has changed while nobody asked."""
GRACE: Final = 3600.0
"""Seconds for which it is still used while Prefect does not answer, so that senders are verified during an outage."""
IN_USE: Final = 3600.0
"""Seconds for which the secrets of a replaced credential stay masked: whoever had it may still be at work."""

_log = logging.getLogger("ipaas.credentials")

Key = tuple[str, str]
"""A credential's name and its type's slug."""


@dataclass
class _Known:
    credential: Credential
    at: datetime
    """When Prefect last confirmed it."""
    checked: datetime
    """When Prefect last answered, or failed to."""
    answers: bool = True
    """Whether Prefect did answer then."""


class PrefectCredentials:
    """Credentials from Prefect's block documents. One event loop.

    A known credential is used at once and loaded anew behind its users. Who asks for one for the first time waits.

    Args:
        keyring: opens them; None: this process's own.
        masker: learns every secret that is opened.
        ttl, grace, patience: seconds; see `TTL`, `GRACE` and `PATIENCE`.
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
        patience: float = PATIENCE,
        connect: Connect = prefect_client,
    ) -> None:
        self._keyring, self._masker, self._clock = keyring, masker, clock or SystemClock()
        self._ttl, self._grace, self._patience, self._connect = ttl, grace, patience, connect
        self._known: dict[Key, _Known] = {}
        self._loading: dict[Key, asyncio.Task[Credential]] = {}
        """What is asked of Prefect now: callers that arrive together share one request."""
        self._replaced: deque[tuple[datetime, Credential]] = deque()

    async def get(self, name: str, kind: type[C]) -> C:
        """The credential called `name`, opened.

        Raises:
            CredentialError: it does not exist, is of another type, or can't be opened; `retriable` when Prefect did not
                answer.
        """
        key = (name, kind.get_block_type_slug())
        known = self._known.get(key)
        credential = known.credential if known and self._is_current(key, known, kind) else None
        if credential is None:
            credential = await self._asked(key, kind)
        assert isinstance(credential, kind)  # noqa: S101 (the key has the type; this tells mypy)
        return credential

    def forget(self) -> None:
        """The next `get` asks Prefect."""
        self._known.clear()

    def _is_current(self, key: Key, known: _Known, kind: type[Credential]) -> bool:
        """Whether it may be used without a word from Prefect."""
        age = self._seconds_since(known.checked)
        if age >= self._ttl * AHEAD:
            self._load(key, kind)
        is_away = not known.answers and self._seconds_since(known.at) < self._grace
        return age < self._ttl or is_away

    async def _asked(self, key: Key, kind: type[Credential]) -> Credential:
        """What Prefect says, or, when it takes its time, what is known."""
        loading, known = self._load(key, kind), self._known.get(key)
        if known and self._seconds_since(known.at) < self._grace:
            await asyncio.wait({loading}, timeout=self._patience)
            if not loading.done():
                known.answers = False
                return known.credential
        return await asyncio.shield(loading)

    def _load(self, key: Key, kind: type[Credential]) -> asyncio.Task[Credential]:
        if key not in self._loading:
            loading = self._loading[key] = asyncio.create_task(self._loaded(key, kind))
            loading.add_done_callback(lambda done: self._said(key, done))
        return self._loading[key]

    def _said(self, key: Key, loading: asyncio.Task[Credential]) -> None:
        del self._loading[key]
        if not loading.cancelled() and (error := loading.exception()):
            _log.debug("credential %r: %s", key[0], error)  # whoever waited for it has raised it

    async def _loaded(self, key: Key, kind: type[Credential]) -> Credential:
        """Asks Prefect, and keeps what it says."""
        name, known = key[0], self._known.get(key)
        try:
            credential = await load_credential(
                name, kind, keyring=self._keyring or default_keyring(), masker=self._masker, connect=self._connect
            )
        except CredentialError as error:
            if error.retriable and known and self._seconds_since(known.at) < self._grace:
                _log.warning("%s; credential %r is used as it was at %s", error, name, known.at.isoformat())
                known.checked, known.answers = self._clock.now(), False
                return known.credential
            self._replace(key, None)
            if known:
                _log.warning("credential %r is not used any more: %s", name, error)
            raise
        if known and dict(credential) == dict(known.credential):
            credential.forget()  # the one in use has the same
            credential = known.credential
        self._replace(key, credential)
        return credential

    def _replace(self, key: Key, credential: Credential | None) -> None:
        now = self._clock.now()
        known = self._known.pop(key, None)
        if known and known.credential is not credential:
            self._replaced.append((now, known.credential))
        if credential:
            self._known[key] = _Known(credential, at=now, checked=now)
        while self._replaced and self._seconds_since(self._replaced[0][0]) >= IN_USE:
            _, out_of_use = self._replaced.popleft()
            out_of_use.forget()

    def _seconds_since(self, then: datetime) -> float:
        return (self._clock.now() - then).total_seconds()


class MemoryCredentials:
    """Credentials from a dict, for tests and for runs without a server: `{"team-slack": {"token": "xoxb-…"}}`."""

    def __init__(
        self,
        credentials: Mapping[str, Credential | Mapping[str, Any]],
        *,
        masker: Masker = process_masker,
        keyring: Keyring | None = None,
    ) -> None:
        self._credentials, self._masker = dict(credentials), masker
        self._keyring = keyring or Keyring.generate()

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
        if isinstance(credential, TokenCredential):
            credential.use(f"access-token-of-{name}")  # which whoever really gets tokens replaces
        return credential
