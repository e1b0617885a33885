"""Runs the gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

from connectors.kit.registry import load_connectors
from foundation.garbage import search_garbage_seldom
from foundation.settings import Settings
from foundation.tracing import flush_traces, set_up_tracing
from ipaas.gateway.app import create_app
from ipaas.gateway.protocol import Connection, GatewayProtocol, HeldHeaders
from ipaas.logs import set_up_logging
from ipaas.platform.stopping import end_within

KEEP_ALIVE_SECONDS = 30
DRAIN_SECONDS = 30
GOODBYE_SECONDS = 5
"""For closing the database and the rest, once nobody is answered any more."""
GIVE_UP_SECONDS = 25.0
"""While it drains: how long a caller still waits for its execution's end, before it gets its 202."""
NEW_OBJECTS = 50_000
"""More than elsewhere before garbage is searched: one large document that is read is tens of thousands of objects."""
SWITCH_SECONDS = 0.001
"""After how long a thread that reads a large document lets the event loop have a turn."""
OWN_FILES = 256
"""File descriptors for all but connections: the database, logs, Prefect."""


class GatewayServer(uvicorn.Server):
    """Tells the application when it drains, so that it takes no more."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        let_the_loop_go_first()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        bound = end_within(DRAIN_SECONDS + GOODBYE_SECONDS, what="gateway")
        state = self._app.state
        state.intake.stopped = True
        give_up = asyncio.get_running_loop().call_later(GIVE_UP_SECONDS, state.waiting.give_up)
        await super().shutdown(sockets)
        give_up.cancel()
        await asyncio.to_thread(flush_traces)  # uvicorn ends the process by the signal itself: nothing else will
        bound.cancel()


def let_the_loop_go_first() -> None:
    """Keeps this process's garbage collector and threads from holding its event loop up."""
    search_garbage_seldom(NEW_OBJECTS)
    sys.setswitchinterval(SWITCH_SECONDS)


def make_server(settings: Settings, app: FastAPI, *, host: str, port: int) -> GatewayServer:
    app.state.held_headers = held = HeldHeaders()
    most, refused = _room_for(settings.max_connections), app.state.metrics.connections_refused

    def connection(**given: Any) -> Connection:
        return Connection(GatewayProtocol(**given, max_connections=most, held=held, refused=refused))

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=connection,  # type: ignore[arg-type]  # it is called to make one, as a class would be
        ws="none",
        loop="auto",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=4096,
    )
    return GatewayServer(config, app)


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serves until SIGTERM or Ctrl-C: then it accepts no more, and answers what it has accepted.

    Raises:
        ConfigurationError: a setting can't be understood, a connector can't be loaded, or traces can't be sent.
    """
    set_up_logging(settings)
    set_up_tracing()
    load_connectors()  # their webhook presets are needed; while it serves, loading them would hold the loop
    # Its warnings are one line for each broken request, at any sender's will; they are counted instead.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    server = make_server(settings, create_app(settings), host=host, port=port)
    with contextlib.suppress(KeyboardInterrupt):  # what uvicorn raises once it has stopped for Ctrl-C
        server.run()


def _room_for(connections: int) -> int:
    """Raises this process's limit of open files; how many of the connections it has room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else min(connections, max(soft - OWN_FILES, 16))
