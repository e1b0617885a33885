"""The base of credential types whose requests carry an access token that is got from elsewhere, and renewed.

Such a type says what to ask for a token and how to read the answer. It sends nothing itself: who may ask, and when, is
decided by `connectors.kit.fresh_tokens`, which gives the token to the credential before an action sees it.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final

from pydantic import PrivateAttr

from blocks.credential import Credential
from blocks.keyring import Keyring, default_keyring
from blocks.sealed_text import Place
from foundation.errors import CredentialError

MARGIN: Final = 60.0
"""Seconds before its end in which an access token is renewed."""
KEEP_ALIVE: Final = 7 * 86_400.0
"""Seconds after which tokens that nobody used are renewed: well before any vendor that says so forgets one."""


@dataclass(frozen=True)
class TokenRequest:
    """A POST that asks for tokens. What is in it is secret."""

    url: str
    form: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tokens:
    access_token: str
    refresh_token: str = ""
    """"" when there is none."""
    expires_in: float | None = None
    """Seconds that the access token had when it was given out; None: the other system does not say."""

    def text(self) -> str:
        """What is sealed: the time is kept beside it."""
        return json.dumps({"access_token": self.access_token, "refresh_token": self.refresh_token})

    @classmethod
    def of(cls, text: str) -> Tokens:
        return cls(**json.loads(text))


class NoToken(CredentialError):
    """The credential is there and has no good access token."""


class TokenRefused(NoToken):
    """The other system gave no token.

    Args:
        lasting: trying again does not help.
        retry_after: seconds it asked us to wait.
        word: its `error`, as RFC 6749, 5.2 has it; "" when it has none.
    """

    def __init__(self, message: str, *, lasting: bool, retry_after: float | None = None, word: str = "") -> None:
        super().__init__(message, retriable=not lasting)
        self.lasting, self.retry_after, self.word = lasting, retry_after, word


class TokenCredential(Credential):
    """A credential that is used through its `access_token`."""

    _is_base: ClassVar[bool] = True
    _token: str = PrivateAttr(default="")
    _renew: Callable[[], Awaitable[bool]] | None = PrivateAttr(default=None)

    @property
    def access_token(self) -> str:
        """What requests carry.

        Raises:
            CredentialError: nobody got one.
        """
        if not self._token:
            raise CredentialError("its access token is got when an action uses it, in a workflow or a script")
        return self._token

    def use(self, token: str, renew: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Gives it the access token to use from now on.

        Args:
            renew: gets another one because this one was refused; whether there is one.
        """
        self._token, self._renew = token, renew

    async def renewed(self) -> bool:
        """Whether there is another token now that this one was refused.

        Raises:
            CredentialError: it can't be renewed.
        """
        return self._renew is not None and await self._renew()

    @property
    def margin(self) -> float:
        """Seconds before its end in which the access token is renewed."""
        return MARGIN

    @property
    def keep_alive(self) -> float | None:
        """Seconds after which unused tokens are renewed, or the other system forgets them; None: it does not."""
        return None

    @abstractmethod
    def token_request(self, refresh_token: str, now: datetime) -> TokenRequest | None:
        """What asks for tokens; None: a person must connect it.

        Args:
            refresh_token: the newest one; "" when there is none.

        Raises:
            CredentialError: its fields don't fit each other.
        """

    @abstractmethod
    def tokens_in(self, answer: Mapping[str, Any], now: datetime, *, refresh_token: str = "") -> Tokens:
        """The tokens that an answer has.

        Args:
            refresh_token: the one that was sent, which stays good when the answer has none.

        Raises:
            TokenRefused: it has an error instead, or no token.
        """

    @abstractmethod
    def token_place(self, name: str) -> Place:
        """Where its tokens are sealed: with other settings of what this has they belong to nobody."""

    def token_ring(self) -> Keyring:
        """What its tokens are sealed with."""
        return self._keyring or default_keyring()

    def settings(self) -> str:
        """Stands for all that it is set to; says nothing about it."""
        values = {
            name: self.reveal(name) if name in self.secret_fields() else getattr(self, name)
            for name in type(self).model_fields
        }
        return self.token_ring().sign("credential settings", json.dumps(values, sort_keys=True, default=str)).hex()[:32]
