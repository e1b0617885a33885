"""Credentials as actions use them: as they are stored, with what is kept elsewhere, with good tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from blocks.token_state import TokenStore
from connectors.kit.call import CredentialSource
from connectors.kit.fresh_tokens import FreshCredentials
from connectors.kit.secrets.source import ExternalSecrets
from connectors.kit.secrets.store import Surroundings
from foundation.clock import Clock
from foundation.masking import Masker
from foundation.settings import Settings


@asynccontextmanager
async def usable_credentials(
    stored: CredentialSource,
    tokens: TokenStore,
    http: httpx.AsyncClient,
    settings: Settings,
    *,
    clock: Clock,
    masker: Masker,
) -> AsyncIterator[FreshCredentials]:
    """Within it, credentials can be used; at its end, renewals of tokens are waited for.

    Args:
        stored: where credentials come from.
        tokens: who keeps their tokens.
        http: the client that actions have.
    """
    external = ExternalSecrets(stored, Surroundings(settings, http, clock))
    fresh = FreshCredentials(external, tokens, http, clock=clock, masker=masker)
    try:
        yield fresh
    finally:
        await fresh.close()
