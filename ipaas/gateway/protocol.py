"""The gateway's side of one connection: uvicorn's HTTP protocol, with bounds on what a sender can hold.

A sender that is slow, endless or broken costs one connection for a bounded time, and nobody else's.

Relies on uvicorn's `HttpToolsProtocol`: its parser callbacks, `cycle`, `connections`, `flow`, `shutdown` and
`send_400_response`, and `timeout_keep_alive_task` being armed whenever a response is complete.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import httptools
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
"""From the connection, or from a request's first byte, to the end of its headers."""
HEADER_BYTES = 64 * 1024
LINGER_SECONDS = 5.0
"""How long the rest of a body is still read after the answer. A closed connection would take the answer with it."""
GOODBYE_SECONDS = 1.0
"""While the gateway drains: how long an idle connection may still bring a request, which is answered 503."""

_OFFERS = frozenset({b"upgrade", b"http2-settings"})


class GatewayProtocol(HttpToolsProtocol):
    """
    Args:
        max_connections: those beyond are answered 503 and closed.
        refused: counts connections that were ended here, by reason.
    """

    def __init__(self, *args: Any, max_connections: int, refused: Counter, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_connections, self._refused = max_connections, refused
        self._deadline: asyncio.TimerHandle | None = None
        self._in_headers, self._in_body = False, False
        self._saw_headers = False
        """Within one `data_received`: a request's headers were complete."""
        self._header_bytes = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._refuse(503, "too many connections", "too_many", "retry-after: 1\r\n")
        else:
            self._arm(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
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
        if self.transport.is_closing():
            return
        was_in_body, self._saw_headers = self._in_body, False
        self._unset_keepalive_if_required()
        left = data
        try:
            while left:
                left = self._feed(left)
        except httptools.HttpParserError:
            self.send_400_response("this is no request in HTTP/1.1")
        if self.transport.is_closing():
            return
        between_requests = not (self._in_body or was_in_body or self._saw_headers)
        if self._in_headers or between_requests:  # empty lines between requests are bytes of the next one's headers
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self._refuse_headers()
            elif self._deadline is None:
                self._arm(HEADER_SECONDS)

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
        super().on_message_begin()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() or self.transport.is_closing():
            return
        self._in_headers, self._in_body, self._saw_headers = False, True, True
        self._header_bytes = 0
        self._disarm()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEADER_BYTES:
            self._refuse_headers()
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
        if self._in_body and not self.transport.is_closing():
            self._arm(LINGER_SECONDS)

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
        self._refused.labels(reason).inc()
        self._disarm()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        title = HTTPStatus(status).phrase
        body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
            f"{header}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
