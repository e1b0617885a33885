"""Tokens that nobody uses are renewed all the same, before the vendors forget them."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from blocks import BLOCK_TYPES, TokenCredential, TokenStore
from connectors.kit.fresh_tokens import FreshCredentials
from foundation.errors import CredentialError, StorageUnavailable

LOOK_SECONDS: Final = 3600.0
OLD_SECONDS: Final = 86_400.0
"""Younger tokens are no vendor's to forget."""

logger = logging.getLogger("ipaas.credentials")


class KeepAlive:
    """
    Args:
        credentials: those of the platform, with their tokens.
    """

    def __init__(self, tokens: TokenStore, credentials: FreshCredentials) -> None:
        self._tokens, self._credentials = tokens, credentials

    async def run(self) -> None:
        """Looks again and again until cancelled. Several processes may: one of them renews."""
        while True:
            try:
                await self.renew()
            except StorageUnavailable as error:
                logger.warning("unused tokens are not looked after: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def renew(self) -> int:
        """Looks once; how many were renewed."""
        renewed = 0
        for state in await self._tokens.tokens():
            kind = BLOCK_TYPES.get(state.type)
            is_old = state.age is not None and state.age >= OLD_SECONDS
            if not is_old or not kind or not issubclass(kind, TokenCredential):
                continue
            try:
                renewed += await self._credentials.keep_alive(state.credential, kind)
            except CredentialError as error:
                logger.warning("unused tokens of credential %r are not kept alive: %s", state.credential, error)
        return renewed
