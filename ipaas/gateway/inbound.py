"""A request made into an event: understood, held against the workflow's `input`, written down.

What takes long for a large request is done here and nowhere else, so that it can be done off the event loop.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from json.encoder import encode_basestring_ascii
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from flows.engine.flow_keys import FlowKeys
from flows.history import Document
from flows.language.event import Event
from foundation.errors import ExpressionError
from ipaas.gateway.hooks import Hook
from ipaas.gateway.payload import collect, parse_body, too_deep
from ipaas.gateway.problems import Problem

R = TypeVar("R")

INLINE_BYTES = 16 * 1024
"""A request up to this size is understood on the event loop: a thread would cost more than it saves."""
INLINE_BYTES_WITH_INPUT = 1024
"""The same where the body is held against a schema, which may cost a thousand times as much a byte."""
THREADS = 2
FAILING_PATHS = 20

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


@dataclass(frozen=True)
class Inbound:
    """One request, as it came."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    query: bytes
    body: bytes
    received_at: datetime

    @property
    def size(self) -> int:
        """What it costs to understand it, in bytes."""
        return len(self.body) + len(self.query) + sum(len(name) + len(value) for name, value in self.headers)


@dataclass(frozen=True)
class Understood:
    """The event, ready to be stored."""

    event: Document
    dedupe: str | None
    """What the workflow's `dedupe` came to."""
    flow: FlowKeys
    """What flow control has to know of it."""
    dedupe_fault: str | None = None
    when_fault: str | None = None
    """Why it could not be decided whether the webhook wants it."""


def understand(hook: Hook, inbound: Inbound) -> Understood | None:
    """The event as it is stored, without what proves the sender. None: its webhook does not want it.

    What is not wanted is not held against the workflow's `input`: it is another kind of event. One that can't be
    decided on is taken: with a 2xx and nothing stored it would be lost.

    Raises:
        Problem: 400, the body is not what it says it is; 422, it does not fit the workflow's input.
    """
    headers = _headers(inbound)
    payload = parse_body(headers.get("content-type", ""), inbound.body)
    kind, _, place = hook.scheme.signature.partition(":") if hook.scheme else ("", "", "")
    query = collect(parse_qsl(inbound.query.decode("latin-1"), keep_blank_values=True))
    event = Event(
        headers={name: value for name, value in headers.items() if name not in hook.hidden_headers},
        query={name: value for name, value in query.items() if not (kind == "query" and name == place)},
        method=inbound.method,
        path=inbound.path,
        received_at=inbound.received_at,
    ).document()
    seen = event | {"body": payload.value}
    wanted, when_fault = _wanted(hook, seen)
    if not wanted:
        return None
    _check_input(hook, payload.value)
    dedupe, dedupe_fault = _dedupe(hook, seen)
    flow = hook.keys.of(seen)
    if kind == "body":
        _drop(payload.value, place)
    as_sent = payload.json if len(inbound.body) > INLINE_BYTES and kind != "body" else None
    written = _written(event, payload.value, as_sent)
    return Understood(written, dedupe, flow, dedupe_fault, when_fault)


def _headers(inbound: Inbound) -> dict[str, str]:
    """By lower-case name; the values of a header that came more than once are joined."""
    values: dict[str, list[str]] = {}
    for name, value in inbound.headers:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ", ".join(all_of_it) for name, all_of_it in values.items()}


def _check_input(hook: Hook, body: Any) -> None:
    try:
        failing = hook.schema.errors(body, most=FAILING_PATHS) if hook.schema else []
    except RecursionError:
        raise too_deep() from None
    if failing:
        first = f"{failing[0]['path']}: {failing[0]['message']}"
        raise Problem(422, f"the body does not fit the workflow's input: {first}", reason="schema", errors=failing)


def _wanted(hook: Hook, event: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Whether the webhook's `when` wants the event, and why it could not say."""
    try:
        return hook.when is None or bool(hook.when.render({"event": event})), None
    except ExpressionError as error:
        return True, str(error)


def _dedupe(hook: Hook, event: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """What `dedupe` came to, or None and why it has come to nothing."""
    if hook.dedupe is None:
        return None, None
    try:
        value = hook.dedupe.render({"event": event})
    except ExpressionError as error:
        return None, str(error)
    return (None, "it came out empty") if value is None or value == "" else (str(value), None)


def _drop(body: Any, path: str) -> None:
    """Takes the signature out of a body that carries it."""
    *parents, last = path.split(".")
    for name in parents:
        body = body.get(name) if isinstance(body, dict) else None
    if isinstance(body, dict):
        body.pop(last, None)


def _written(event: dict[str, Any], body: Any, as_sent: str | None) -> Document:
    """The event's text. A large JSON body's is the one that was sent: to write it anew would hold up everybody."""
    if as_sent is None:
        return Document(json.dumps(event | {"body": body}, separators=(",", ":")))
    del event["body"]
    ascii_only = _NOT_ASCII.sub(lambda found: encode_basestring_ascii(found[0])[1:-1], as_sent)
    return Document(f'{json.dumps(event, separators=(",", ":"))[:-1]},"body":{ascii_only}}}')


class OffTheLoop:
    """A few threads for what would hold the event loop up."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="inbound")

    async def understand(self, hook: Hook, inbound: Inbound) -> Understood | None:
        """`understand`, in a thread when the request is large."""
        inline = INLINE_BYTES_WITH_INPUT if hook.schema else INLINE_BYTES
        return await self.run(partial(understand, hook, inbound), large=inbound.size > inline)

    async def run(self, work: Callable[[], R], *, large: bool) -> R:
        """Does it here, or in a thread when it is large."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work) if large else work()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
