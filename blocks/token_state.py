"""What is known of the tokens of credentials that get theirs from an authorization server, and who keeps it.

The history does (`flows.history`), since the processes that share it must agree on who refreshes a token; a process
without a history has `MemoryTokens`. Tokens are kept sealed: here they are text that says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from foundation.clock import Clock, SystemClock


@dataclass(frozen=True)
class TokenHold:
    """The right to write a credential's tokens, in the how-manieth run. Taken from `TokenState.hold`."""

    credential: str
    type: str
    run: int


@dataclass(frozen=True)
class TokenFailure:
    """Why there are no new tokens."""

    message: str
    lasting: bool
    """Trying again does not help: a person must connect or set the credential again."""
    settings: str
    """Stands for what the credential was set to when it failed: with other settings it may be tried at once."""


@dataclass(frozen=True)
class TokenState:
    """The tokens of one credential. Seconds are by the clock of whoever keeps them, when they were read."""

    credential: str
    type: str
    run: int = 0
    """How often they were claimed or connected."""
    sealed: str | None = None
    """The newest tokens; None: there are none."""
    left: float | None = None
    """Seconds until the access token is over, below 0 after that; None: nobody knows."""
    age: float | None = None
    """Seconds since the newest tokens were stored."""
    connected_at: datetime | None = None
    """When a person connected it last."""
    connected_by: str | None = None
    failures: int = 0
    """How often getting new ones has failed in a row."""
    failure: TokenFailure | None = None
    """The last one since there were new ones."""
    retry_in: float = 0.0
    """Seconds until it may be tried again after a failure."""

    @property
    def is_lost(self) -> bool:
        """Whether a person must connect or set the credential again."""
        return self.failure is not None and self.failure.lasting

    @property
    def hold(self) -> TokenHold:
        return TokenHold(self.credential, self.type, self.run)


class TokenStore(Protocol):
    """Every method is one transaction, and none waits for another system. A write whose hold is not the newest any more
    does nothing: False."""

    async def token(self, credential: str, type: str) -> TokenState | None: ...

    async def tokens(self) -> Sequence[TokenState]:
        """All, by credential and type."""
        ...

    async def claim_token(self, credential: str, type: str, *, claim: float) -> TokenState | None:
        """The tokens as they are now, which are this caller's to renew for `claim` seconds; None: somebody else's."""
        ...

    async def store_token(self, hold: TokenHold, sealed: str, *, expires_in: float | None) -> bool:
        """Replaces the tokens, ends the claim, and forgets failures."""
        ...

    async def fail_token(self, hold: TokenHold, failure: TokenFailure, *, retry: float) -> bool:
        """Counts a failure and ends the claim; the tokens stay. It may be tried again in `retry` seconds."""
        ...

    async def release_token(self, hold: TokenHold) -> None:
        """Gives a claim back."""
        ...

    async def begin_connecting(self, credential: str, type: str, nonce: str) -> None:
        """Notes that a person is asked to connect it. A second time replaces the first."""
        ...

    async def end_connecting(self, credential: str, type: str, nonce: str) -> bool:
        """Whether this is what was begun last, which is over now."""
        ...

    async def connect_token(
        self,
        credential: str,
        type: str,
        sealed: str,
        *,
        expires_in: float | None,
        by: str | None,
    ) -> None:
        """Stores tokens that a person got, whoever has claimed them: every earlier hold is void."""
        ...

    async def reseal_token(self, credential: str, type: str, *, before: str, after: str) -> bool:
        """Replaces the sealed text, unless it has changed meanwhile."""
        ...

    async def forget_token(self, credential: str, type: str) -> None:
        """Deletes all that is kept of it."""
        ...


@dataclass
class _Kept:
    state: TokenState
    stored_at: datetime | None = None
    expires_at: datetime | None = None
    retry_at: datetime | None = None
    claimed_until: datetime | None = None
    nonce: str | None = None


class MemoryTokens:
    """Tokens of this process alone."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._tokens: dict[tuple[str, str], _Kept] = {}

    async def token(self, credential: str, type: str) -> TokenState | None:
        kept = self._tokens.get((credential, type))
        return self._shown(kept) if kept else None

    async def tokens(self) -> Sequence[TokenState]:
        return [self._shown(self._tokens[key]) for key in sorted(self._tokens)]

    async def claim_token(self, credential: str, type: str, *, claim: float) -> TokenState | None:
        kept, now = self._kept(credential, type), self._clock.now()
        if kept.claimed_until is not None and kept.claimed_until > now:
            return None
        kept.claimed_until = now + timedelta(seconds=claim)
        kept.state = replace(kept.state, run=kept.state.run + 1)
        return self._shown(kept)

    async def store_token(self, hold: TokenHold, sealed: str, *, expires_in: float | None) -> bool:
        kept = self._held(hold)
        if kept:
            self._store(kept, sealed, expires_in)
        return kept is not None

    async def fail_token(self, hold: TokenHold, failure: TokenFailure, *, retry: float) -> bool:
        kept = self._held(hold)
        if kept:
            kept.state = replace(kept.state, failures=kept.state.failures + 1, failure=failure)
            kept.retry_at, kept.claimed_until = self._clock.now() + timedelta(seconds=retry), None
        return kept is not None

    async def release_token(self, hold: TokenHold) -> None:
        if kept := self._held(hold):
            kept.claimed_until = None

    async def begin_connecting(self, credential: str, type: str, nonce: str) -> None:
        self._kept(credential, type).nonce = nonce

    async def end_connecting(self, credential: str, type: str, nonce: str) -> bool:
        kept = self._tokens.get((credential, type))
        if kept is None or kept.nonce != nonce:
            return False
        kept.nonce = None
        return True

    async def connect_token(
        self,
        credential: str,
        type: str,
        sealed: str,
        *,
        expires_in: float | None,
        by: str | None,
    ) -> None:
        kept = self._kept(credential, type)
        kept.state = replace(kept.state, run=kept.state.run + 1, connected_at=self._clock.now(), connected_by=by)
        self._store(kept, sealed, expires_in)

    async def reseal_token(self, credential: str, type: str, *, before: str, after: str) -> bool:
        kept = self._tokens.get((credential, type))
        if kept is None or kept.state.sealed != before:
            return False
        kept.state = replace(kept.state, sealed=after)
        return True

    async def forget_token(self, credential: str, type: str) -> None:
        self._tokens.pop((credential, type), None)

    def _kept(self, credential: str, slug: str) -> _Kept:
        return self._tokens.setdefault((credential, slug), _Kept(TokenState(credential, slug)))

    def _held(self, hold: TokenHold) -> _Kept | None:
        kept = self._tokens.get((hold.credential, hold.type))
        return kept if kept and kept.state.run == hold.run and kept.claimed_until is not None else None

    def _store(self, kept: _Kept, sealed: str, expires_in: float | None) -> None:
        now = self._clock.now()
        kept.state = replace(kept.state, sealed=sealed, failures=0, failure=None)
        kept.stored_at, kept.claimed_until, kept.retry_at = now, None, None
        kept.expires_at = None if expires_in is None else now + timedelta(seconds=expires_in)

    def _shown(self, kept: _Kept) -> TokenState:
        now = self._clock.now()
        return replace(
            kept.state,
            left=(kept.expires_at - now).total_seconds() if kept.expires_at else None,
            age=(now - kept.stored_at).total_seconds() if kept.stored_at else None,
            retry_in=max((kept.retry_at - now).total_seconds(), 0.0) if kept.retry_at else 0.0,
        )
