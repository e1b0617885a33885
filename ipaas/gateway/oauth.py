"""`/oauth/callback`: where consent pages send a person's browser back to."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request, Response
from jinja2 import Environment
from starlette.responses import HTMLResponse

from foundation.errors import CredentialError
from ipaas.connecting import CALLBACK, Connecting, ConsentFailed
from ipaas.gateway.callbacks import PRIVATE

logger = logging.getLogger("ipaas.gateway")
router = APIRouter(include_in_schema=False)

_PAGE = Environment(autoescape=True).from_string(
    "<!doctype html><html lang=en><meta charset=utf-8><title>{{ title }}</title>"
    "<style>body{font:16px/1.5 system-ui;max-width:34rem;margin:4rem auto;padding:0 1rem}</style>"
    "<h1>{{ title }}</h1><p>{{ said }}</p></html>"
)


@router.get(CALLBACK)
async def come_back(request: Request, state: str = "", code: str | None = None, error: str | None = None) -> Response:
    connecting: Connecting = request.app.state.connecting
    try:
        name = await connecting.come_back(state, code=code, error=error)
    except CredentialError as fault:
        logger.warning("a consent came to nothing: %s", fault)
        status = 400 if isinstance(fault, ConsentFailed) else 502
        return _page("Not connected", str(fault), status)
    logger.info("credential %r is connected", name)
    return _page("Connected", f"{name} is connected. You can close this window.")


def _page(title: str, said: str, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.render(title=title, said=said), status_code=status, headers=PRIVATE)
