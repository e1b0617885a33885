"""Credentials whose access tokens are good: got, renewed before their end, and renewed once for all processes.

Who finds a token that is over, or nearly, claims it in the history, reads it again, asks for a new one and stores that
before anybody uses it. No lock is held meanwhile: others use the old one as long as it is good, else look again until
the new one is there. What an authorization server refuses is not asked again at once, by no process.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import httpx

from blocks.credential import Credential
from blocks.token_credential import NoToken, TokenCredential, TokenRefused, Tokens
from blocks.token_state import TokenFailure, TokenState, TokenStore
from connectors.kit.call import CredentialSource
from connectors.kit.token_requests import SECONDS, TokenServer
from foundation.clock import Clock
from foundation.errors import CredentialError, StorageUnavailable
from foundation.masking import Masker

C = TypeVar("C", bound=Credential)
T = TypeVar("T")
Key = tuple[str, str]
"""A credential's name and its type's slug."""

CLAIM: Final = 3 * SECONDS
"""Seconds for which who renews tokens is alone: longer than the request may take, and its storing."""
PATIENCE: Final = 2 * SECONDS
"""Seconds that others wait for a token that somebody renews."""
LOOK_AGAIN: Final = 0.1
"""Seconds between their looks."""
TTL: Final = 5.0
"""Seconds for which a token that was read is used without another look: as long as a credential itself."""
SHARE: Final = 0.1
"""A token is renewed when this share of its time is left, if that is less than the margin."""
YOUNG: Final = 60.0
"""Seconds. A token that is younger is not the reason when it is refused, and is kept."""
FIRST_PAUSE, LONGEST_PAUSE, LASTING_PAUSE = 2.0, 300.0, 3600.0
"""Seconds until a request for tokens is tried again: after the first failure, doubled with each, at most; and after one
that trying again does not mend."""
IN_USE: Final = 3600.0
"""Seconds for which a token that was replaced stays masked."""

logger = logging.getLogger("ipaas.credentials")


@dataclass(eq=False)
class _Known:
    """Tokens that this process has read. It stands for them in the masker, too."""

    tokens: Tokens
    sealed: str
    settings: str
    read: datetime
    left: float | None
    """Seconds that the access token had when it was read."""
    margin: float


class FreshCredentials:
    """A `CredentialSource` over another one. One event loop.

    Args:
        credentials: where the credentials themselves come from.
        tokens: who keeps their tokens.
        http: sends what asks for them; the client that actions have.
    """

    def __init__(
        self,
        credentials: CredentialSource,
        tokens: TokenStore,
        http: httpx.AsyncClient,
        *,
        clock: Clock,
        masker: Masker,
        claim: float = CLAIM,
        patience: float = PATIENCE,
    ) -> None:
        self._credentials, self._store = credentials, tokens
        self._server = TokenServer(http, clock=clock, masker=masker)
        self._clock, self._masker, self._claim, self._patience = clock, masker, claim, patience
        self._known: dict[Key, _Known] = {}
        self._looking: dict[Key, asyncio.Task[_Known]] = {}
        """Callers in this process share one look, and so one renewal."""
        self._replaced: deque[tuple[datetime, _Known]] = deque()

    async def get(self, name: str, kind: type[C]) -> C:
        """The credential called `name`, opened, with an access token if it has one.

        Raises:
            CredentialError: as of the other source; or there is no good token: `retriable` when there may be one later.
        """
        credential = await self._credentials.get(name, kind)
        if isinstance(credential, TokenCredential):
            known = await self._good(name, credential)
            token = known.tokens.access_token
            credential.use(token, partial(self._refused, name, credential, token))
        return credential

    async def keep_alive(self, name: str, kind: type[TokenCredential]) -> bool:
        """Renews the tokens if nobody did for as long as the other system remembers them; whether it did.

        Raises:
            CredentialError: as `get`.
        """
        credential = await self._credentials.get(name, kind)
        state = await self._read(name, credential)
        limit = credential.keep_alive
        if state is None or state.age is None or limit is None or state.age < limit:
            return False
        await self._look(name, credential, unwanted=state.sealed)
        return True

    async def close(self) -> None:
        """Waits for renewals that are under way: a token that was given out and not stored would be lost."""
        await asyncio.gather(*self._looking.values(), return_exceptions=True)

    async def _refused(self, name: str, credential: TokenCredential, token: str) -> bool:
        """Whether there is another token now that this one was refused."""
        state = await self._read(name, credential)
        stored = self._opened(name, credential, state)
        if state and stored and stored.access_token == token:
            if state.age is not None and state.age < YOUNG:
                return False
            await self._look(name, credential, unwanted=state.sealed)
        else:
            self._known.pop((name, credential.get_block_type_slug()), None)
        known = await self._good(name, credential)
        credential.use(known.tokens.access_token, partial(self._refused, name, credential, known.tokens.access_token))
        return known.tokens.access_token != token

    async def _good(self, name: str, credential: TokenCredential) -> _Known:
        known = self._known.get((name, credential.get_block_type_slug()))
        if known and self._since(known.read) < TTL and known.settings == credential.settings():
            left = known.left if known.left is None else known.left - self._since(known.read)
            if not _is_due(left, known.margin):
                return known
        return await self._look(name, credential)

    async def _look(self, name: str, credential: TokenCredential, *, unwanted: str | None = None) -> _Known:
        """What the history has, or a new token. A caller that is cancelled leaves the renewal running.

        Args:
            unwanted: these sealed tokens won't do, good or not.
        """
        key = (name, credential.get_block_type_slug())
        while (looking := self._looking.get(key)) and unwanted is not None:
            await asyncio.wait({looking})
        if looking is None:
            looking = asyncio.create_task(self._found(name, credential, unwanted))
            self._looking[key] = looking
            looking.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(looking)

    def _done(self, key: Key, looking: asyncio.Task[_Known]) -> None:
        del self._looking[key]
        if not looking.cancelled():
            looking.exception()  # whoever waits for it raises it

    async def _found(self, name: str, credential: TokenCredential, unwanted: str | None) -> _Known:
        began, has_renewed = self._clock.now(), False
        while True:
            state = await self._read(name, credential)
            known = self._usable(name, credential, state, unwanted)
            if known and (has_renewed or not _is_due(known.left, known.margin)):
                return known
            fault = self._fault(name, credential, state)
            if not fault and has_renewed:
                fault = NoToken(f"credential {name!r}: its new token is over already", retriable=True)
            if not fault and await self._claimed(name, credential, state):
                has_renewed, unwanted = True, None
                continue
            if known:
                return known
            if fault:
                raise fault
            if self._since(began) >= self._patience:
                raise NoToken(f"credential {name!r}: somebody renews its tokens for too long", retriable=True)
            await self._clock.sleep(LOOK_AGAIN)

    async def _claimed(self, name: str, credential: TokenCredential, seen: TokenState | None) -> bool:
        """Renews the tokens that were seen, unless others do or did; whether it tried."""
        claim = self._store.claim_token(name, credential.get_block_type_slug(), claim=self._claim)
        held = await _storing(claim)
        if held is None:
            return False
        if (held.sealed, held.failures) == ((seen.sealed, seen.failures) if seen else (None, 0)):
            await self._renew(name, credential, held)
            return True
        await _storing(self._store.release_token(held.hold))
        return False

    async def _renew(self, name: str, credential: TokenCredential, held: TokenState) -> None:
        """Gets new tokens under this claim, or notes why there are none."""
        before = self._opened(name, credential, held)
        refresh = before.refresh_token if before else ""
        try:
            request = credential.token_request(refresh, self._clock.now())
            if request is None:
                raise TokenRefused("nobody has connected it yet", lasting=True)
            answer = await self._server.ask(request)
            tokens = credential.tokens_in(answer, self._clock.now(), refresh_token=refresh)
        except TokenRefused as error:
            await self._note(name, credential, held, error)
        except BaseException:  # a cancel too: the others must not wait for the claim to be over
            await _storing(self._store.release_token(held.hold))
            raise
        else:
            sealed = credential.token_ring().seal(tokens.text(), credential.token_place(name))
            await self._keep(held, sealed, tokens.expires_in)

    async def _keep(self, held: TokenState, sealed: str, expires_in: float | None) -> None:
        """Stores them, trying for as long as the claim lasts: the server may take the old ones no more.

        Raises:
            CredentialError: they can't be stored.
        """
        began = self._clock.now()
        while True:
            try:
                if not await self._store.store_token(held.hold, sealed, expires_in=expires_in):
                    logger.warning("credential %r: others have renewed its tokens meanwhile", held.credential)
            except StorageUnavailable as error:
                if self._since(began) >= self._claim:
                    raise NoToken(f"new tokens can't be stored: {error}", retriable=True) from None
            else:
                return
            await self._clock.sleep(LOOK_AGAIN)

    async def _note(self, name: str, credential: TokenCredential, held: TokenState, error: TokenRefused) -> None:
        pause = LASTING_PAUSE if error.lasting else min(FIRST_PAUSE * 2**held.failures, LONGEST_PAUSE)
        failure = TokenFailure(self._masker.mask(str(error)), error.lasting, credential.settings())
        retry = max(pause, error.retry_after or 0.0)
        await _storing(self._store.fail_token(held.hold, failure, retry=retry))
        if error.lasting:
            logger.error("%s", what_to_do(held, failure))
        else:
            logger.warning("credential %r: no new token (%s); tried again in %.0f s", name, failure.message, retry)

    def _fault(self, name: str, credential: TokenCredential, state: TokenState | None) -> CredentialError | None:
        """Why nobody asks for tokens now."""
        failure = state.failure if state else None
        if not state or not failure or state.retry_in <= 0 or failure.settings != credential.settings():
            return None
        if failure.lasting:
            return NoToken(what_to_do(state, failure))
        said = f"no new token ({failure.message}); it is tried again in {state.retry_in:.0f} s"
        return NoToken(f"credential {name!r}: {said}", retriable=True)

    async def _read(self, name: str, credential: TokenCredential) -> TokenState | None:
        return await _storing(self._store.token(name, credential.get_block_type_slug()))

    def _usable(
        self, name: str, credential: TokenCredential, state: TokenState | None, unwanted: str | None
    ) -> _Known | None:
        """The stored tokens as known from now on, if the access token is good and wanted."""
        tokens = self._opened(name, credential, state)
        if not state or not tokens or state.sealed == unwanted or (state.left is not None and state.left <= 0):
            return None
        key, now, margin = (name, state.type), self._clock.now(), credential.margin
        if state.left is not None and state.age is not None:
            margin = min(margin, (state.left + state.age) * SHARE)
        known = _Known(tokens, state.sealed or "", credential.settings(), now, state.left, margin)
        for secret in filter(None, (tokens.access_token, tokens.refresh_token)):
            self._masker.add(secret, holder=known)
        if before := self._known.get(key):
            self._replaced.append((now, before))
        self._known[key] = known
        while self._replaced and self._since(self._replaced[0][0]) >= IN_USE:
            self._masker.release(self._replaced.popleft()[1])
        return known

    def _opened(self, name: str, credential: TokenCredential, state: TokenState | None) -> Tokens | None:
        """The stored tokens; None: there are none, or they belong to what the credential was set to before."""
        if state is None or state.sealed is None:
            return None
        try:
            return Tokens.of(credential.token_ring().open(state.sealed, credential.token_place(name)))
        except CredentialError as error:
            logger.warning("credential %r: its tokens are not used: %s", name, error)
            return None

    def _since(self, then: datetime) -> float:
        return (self._clock.now() - then).total_seconds()


def what_to_do(state: TokenState, failure: TokenFailure) -> str:
    """What is wrong with a credential's tokens for good, and who can mend it."""
    who = f"{state.connected_by}, who connected it, must do so again" if state.connected_by else "connect it"
    return (
        f"credential {state.credential!r} of type {state.type} has no good token: {failure.message}; "
        f"{who} (`ipaas credentials connect {state.credential}`), or set it again"
    )


def _is_due(left: float | None, margin: float) -> bool:
    return left is not None and left <= margin


async def _storing(work: Awaitable[T]) -> T:
    """Raises CredentialError, which is retriable, when the storage does not answer."""
    try:
        return await work
    except StorageUnavailable as error:
        raise NoToken(f"tokens of credentials can't be read or written: {error}", retriable=True) from None
