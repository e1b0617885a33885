"""Runs the gateway until it is told to stop."""

from __future__ import annotations

import uvicorn

from blocks.settings import Settings
from ipaas.gateway.app import create_app
from ipaas.logs import set_up_logging

KEEP_ALIVE_SECONDS = 30
DRAIN_SECONDS = 30


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serves until SIGTERM or Ctrl-C: then it accepts no more, and answers what it has accepted."""
    set_up_logging(settings)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=4096,
    )
