"""The gateway's side of one connection: uvicorn's HTTP protocol, with bounds on what a sender can hold.

A sender that is slow, endless or broken costs one connection for a bounded time, and nobody else's.

Relies on uvicorn's `HttpToolsProtocol`: its parser callbacks, `cycle`, `pipeline`, `scope`, `headers`, `url`,
`connections`, `flow`, `shutdown` and `send_400_response`, and `timeout_keep_alive_task` being armed whenever a response
is complete.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
"""From the connection, or from a request's first byte, to the end of its headers."""
HEADER_BYTES = 64 * 1024
HEADER_LINES = 256
LINE_COST = 128
"""Bytes of memory that a header costs beside its text."""
USUAL_HEADERS = 8 * 1024
"""What a connection may hold of headers whatever the others hold."""
HELD_HEADERS = 16 * 1024 * 1024
"""What all connections together may hold of headers beyond that."""
PIPELINED_REQUESTS = 16
PIPELINED_BYTES = 16 * 1024
"""How much may come behind a request that is not answered yet."""
LINGER_SECONDS = 5.0
"""How long the rest of a body is still read after the answer. A closed connection would take the answer with it."""
GOODBYE_SECONDS = 1.0
"""While the gateway drains: how long an idle connection may still bring a request, which is answered 503."""

_SLICE = 16 * 1024
"""So many bytes are parsed before it is looked at what came of them."""
_OFFERS = frozenset({b"upgrade", b"http2-settings"})


@dataclass
class HeldHeaders:
    """What all connections of a server hold of headers, beyond what is usual; in bytes."""

    bytes: int = 0


class GatewayProtocol(HttpToolsProtocol):
    """
    Args:
        max_connections: those beyond are answered 503 and closed.
        held: shared by all connections.
        refused: counts connections that were ended here, by reason.
    """

    def __init__(self, *args: Any, max_connections: int, held: HeldHeaders, refused: Counter, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_connections, self._held, self._refused = max_connections, held, refused
        self._deadline: asyncio.TimerHandle | None = None
        self._in_headers, self._in_body = False, False
        self._saw_headers = False
        """Within one `data_received`: a request's headers were complete."""
        self._header_bytes = 0
        self._holds = 0
        """This connection's part of what is held."""
        self._pipelined_bytes = 0
        self._is_deaf = False
        """It ends once it is answered: what else comes is not listened to."""

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._refuse(503, "too many connections", "too_many", "retry-after: 1\r\n")
        else:
            self._arm(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._hold(0)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server drains: this connection ends with its answer, or, when it is idle, a moment from now."""
        if self.cycle is None or self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(GOODBYE_SECONDS, self.transport.close)
        else:
            super().shutdown()

    # What arrives

    def data_received(self, data: bytes) -> None:
        if self._is_deaf or self.transport.is_closing():
            return
        was_in_body, self._saw_headers = self._in_body, False
        self._unset_keepalive_if_required()
        left = data
        try:
            while left and not self._is_deaf:
                left = self._feed(left[:_SLICE]) + left[_SLICE:]
                self._count_pipelined(min(len(data), _SLICE))
        except httptools.HttpParserError:
            if not self._is_deaf:
                self.send_400_response("this is no request in HTTP/1.1")
        if self._is_deaf or self.transport.is_closing():
            return
        between_requests = not (self._in_body or was_in_body or self._saw_headers)
        if self._in_headers or between_requests:  # empty lines between requests are bytes of the next one's headers
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self._refuse_headers()
            elif not self._hold(self._header_bytes + LINE_COST * len(self.headers or ())):
                self._refuse(503, "too many headers are held", "too_many", "retry-after: 1\r\n")
            elif self._deadline is None:
                self._arm(HEADER_SECONDS)

    def _count_pipelined(self, size: int) -> None:
        self._pipelined_bytes = self._pipelined_bytes + size if self.pipeline else 0
        if self._pipelined_bytes > PIPELINED_BYTES:
            self._stop_listening("pipelined")

    def _hold(self, size: int) -> bool:
        """Counts what this connection holds of headers; False: that is more than there is room for."""
        beyond = max(0, size - USUAL_HEADERS)
        self._held.bytes += beyond - self._holds
        self._holds = beyond
        return not beyond or self._held.bytes <= HELD_HEADERS

    def _feed(self, data: bytes) -> bytes:
        """Parses; what is left to be parsed, if anything.

        A request that offers another protocol is one without the offer (RFC 9110 section 7.8 lets a server ignore it):
        Java's HTTP client offers HTTP/2 on every connection without TLS. The parser would skip such a request's body.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            return self._head_without_offer() + data[offer.args[0] :]
        return b""

    def _head_without_offer(self) -> bytes:
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("a gateway is no proxy")
        lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b",".join(token for token in value.split(b",") if token.strip().lower() not in _OFFERS)
            if name not in _OFFERS:
                lines.append(name + b": " + value)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED_REQUESTS:
            self._stop_listening("pipelined")
            raise httptools.HttpParserError("too many requests at once")
        super().on_message_begin()
        self._in_headers = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) < HEADER_LINES:
            super().on_header(name, value)
        elif not self._is_deaf:
            self._refuse(431, f"there are more than {HEADER_LINES} headers", "large_headers")
            self._is_deaf = True

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() or self._is_deaf or self.transport.is_closing():
            return
        self._in_headers, self._in_body, self._saw_headers = False, True, True
        self._header_bytes = 0
        self._disarm()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEADER_BYTES:
            self._refuse_headers()
        elif not self._hold(size + LINE_COST * len(self.headers)):
            self._refuse(503, "too many headers are held", "too_many", "retry-after: 1\r\n")
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        was_in_body, self._in_body = self._in_body, False
        if was_in_body and self.cycle is not None:
            super().on_message_complete()
            if self.cycle.response_complete:
                self._disarm()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self._in_headers:
            self._forget_request()
        if self._in_body and not self.transport.is_closing():
            self._arm(LINGER_SECONDS)

    def _forget_request(self) -> None:
        """A connection that idles holds nothing of what it has brought."""
        self.cycle.scope, self.scope, self.headers, self.url = {}, {}, [], b""  # type: ignore[typeddict-item]
        self._hold(0)

    # Deadlines and refusals

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._in_body:
            self.transport.close()  # it has its answer
        else:
            self._refuse(408, f"the headers did not arrive within {HEADER_SECONDS:g} s", "slow")

    def _refuse_headers(self) -> None:
        self._refuse(431, f"the headers are larger than {HEADER_BYTES} bytes", "large_headers")

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg, "malformed")

    def _refuse(self, status: int, detail: str, reason: str, header: str = "") -> None:
        """Ends the connection, with an answer unless an earlier request's is still to come."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_listening(reason)
            return
        self._refused.labels(reason).inc()
        self._disarm()
        title = HTTPStatus(status).phrase
        body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
            f"{header}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _stop_listening(self, reason: str) -> None:
        """What was asked is still answered; then the connection ends."""
        self._refused.labels(reason).inc()
        self._disarm()
        self._is_deaf = True
        self.cycle.keep_alive = False
        self.flow.pause_reading()
