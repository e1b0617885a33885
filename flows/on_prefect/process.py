"""The runtime of a process that runs executions: one for all of them in a worker, else one for each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar

from blocks import Keyring, MemoryTokens, PrefectCredentials, TokenStore, default_keyring, use_keyring
from connectors.kit.call import Services
from connectors.kit.http_client import new_client
from connectors.kit.usable_credentials import usable_credentials
from flows.engine.callbacks import Callbacks
from flows.engine.runtime import Runtime
from flows.expressions import render_template
from flows.history import Limits, open_store
from foundation.clock import SystemClock
from foundation.errors import ConfigurationError, StorageUnavailable
from foundation.masking import process_masker
from foundation.settings import Settings
from foundation.tracing import set_up_tracing


@asynccontextmanager
async def open_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """A runtime on the settings' database, keys and connectors.

    Raises:
        ConfigurationError: the keys, the database's schema, or traces that can't be sent.
        StorageUnavailable: the database does not answer.
    """
    set_up_tracing()
    clock, masker = SystemClock(), process_masker
    use_keyring(Keyring.from_settings(settings))
    limits = Limits(settings.max_inline_bytes, settings.max_output_bytes)
    store = open_store(settings.database, clock, limits, ui_url=settings.prefect_ui_url)
    async with AsyncExitStack() as opened:
        http = await opened.enter_async_context(new_client(egress_allow=settings.egress_allow))
        await store.open()
        opened.push_async_callback(store.close)
        stored = PrefectCredentials(masker=masker, clock=clock)
        credentials = await opened.enter_async_context(
            usable_credentials(stored, store, http, settings, clock=clock, masker=masker)
        )
        services = Services(
            http=http,
            credentials=credentials,
            clock=clock,
            masker=masker,
            render=render_template,
            connectors=settings.connectors,
        )
        callbacks = Callbacks(default_keyring(), settings.public_url or settings.gateway_url)
        async with Runtime(store=store, services=services, clock=clock, callbacks=callbacks) as runtime:
            yield runtime


@asynccontextmanager
async def tokens_of_platform(settings: Settings) -> AsyncIterator[TokenStore]:
    """The tokens that the platform has; for a process that runs executions without its history.

    Without a platform, the process gets its own tokens where no person's consent is needed.
    """
    store = open_store(settings.database)
    try:
        await store.open()
    except (ConfigurationError, StorageUnavailable):
        yield MemoryTokens()
        return
    try:
        yield store
    finally:
        await store.close()


_Opened = tuple[asyncio.AbstractEventLoop, Runtime]

_opened: _Opened | None = None
_opened_here: ContextVar[_Opened | None] = ContextVar("_opened_here", default=None)
"""The runtime of one execution in a script; others that run at the same time have theirs."""


@contextlib.contextmanager
def use_runtime(runtime: Runtime) -> Iterator[None]:
    """Makes `runtime` the one that executions of this process run in."""
    global _opened
    before, _opened = _opened, (asyncio.get_running_loop(), runtime)
    try:
        yield
    finally:
        _opened = before


@asynccontextmanager
async def current_runtime() -> AsyncIterator[Runtime]:
    """The process's runtime; else (a stock Prefect worker, a script) one from the environment for this execution."""
    loop = asyncio.get_running_loop()
    for opened in (_opened_here.get(), _opened):
        if opened and opened[0] is loop:
            yield opened[1]
            return
    async with open_runtime(Settings()) as runtime:
        token = _opened_here.set((loop, runtime))
        try:
            yield runtime
        finally:
            _opened_here.reset(token)
