"""What every request passes: it gets an id, its body is bounded, and senders to /hooks take the short way.

The short way matters: the framework's routing costs as much as all the rest of accepting an event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundation.ids import new_id
from foundation.log_fields import log_fields
from ipaas.gateway.budget import BodyBudget
from ipaas.gateway.payload import read_body
from ipaas.gateway.problems import Problem, unavailable

if TYPE_CHECKING:
    from ipaas.gateway.receive import Receiver

HOOKS = "/hooks/"
WATCHED = ("/healthz", "/metrics")
"""Answered while the gateway drains, too."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass
class Intake:
    """Whether the gateway takes new requests: not any more once it was told to stop."""

    stopped: bool = False


class Entrance:
    """ASGI middleware around the whole application, whose state has `receiver`, `bodies`, `intake` and `settings`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        with log_fields(request=request_id.decode()):
            await self._pass_on(scope, receive, send_with_id)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: Any = scope["app"].state
        path: str = scope["path"]
        if path.startswith(HOOKS):
            receiver: Receiver = state.receiver
            response = await receiver.receive(Request(scope, receive), path[len(HOOKS) :])
            await response(scope, receive, send)
        elif state.intake.stopped and path not in WATCHED:
            await shutting_down().response()(scope, receive, send)
        else:
            bodies: BodyBudget = state.bodies
            with bodies.share() as share:
                try:
                    body = await read_body(Request(scope, receive), state.settings.max_body_bytes, share)
                except Problem as problem:
                    await problem.response()(scope, receive, send)
                    return
                await self.app(scope, _replayed(body, receive), send)


def shutting_down() -> Problem:
    problem = unavailable("the gateway is shutting down; please send it again", reason="shutting_down")
    problem.headers["Connection"] = "close"
    return problem


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value)
    return new_id().encode()


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, then whatever comes."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return left.pop() if left else await receive()

    return next_message
