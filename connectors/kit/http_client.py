"""The HTTP client that every action shares, and the one way in which actions send requests.

What an action gets from it: one pool of connections, timeouts, retries of what is safe to repeat, a circuit breaker, a
bound on the answer's size, redirects that never carry a credential elsewhere, and errors that say what the other
system said. Errors and logs name the host only: paths and queries may hold secrets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import httpx

from connectors.kit.answer import Answer, remote_error
from connectors.kit.call import current_call
from connectors.kit.retry import SafeRetries, retried
from foundation.errors import ActionError, ConnectionFailed, IpaasError, RemoteError, StepTimeout
from foundation.tracing import SpanKind, annotate, mark_failed, span, traceparent

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0
MAX_BODY_BYTES: Final = 10 * 1024 * 1024
MAX_REDIRECTS: Final = 5


def new_client(transport: httpx.AsyncBaseTransport | None = None, *, max_connections: int = 200) -> httpx.AsyncClient:
    """A client for `Services.http`. It keeps no cookies: what one execution is given is no other one's business.

    Args:
        transport: instead of the network; for tests. Without it, the environment's proxies are used.
    """
    try:
        ours = version("prefect-ipaas")
    except PackageNotFoundError:  # run from a checkout that is not installed
        ours = "dev"
    return httpx.AsyncClient(
        transport=transport,
        timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections // 2),
        headers={"User-Agent": f"prefect-ipaas/{ours}"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
    )


async def request(
    method: str,
    url: str,
    *,
    query: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    auth: Mapping[str, str] | None = None,
    json: Any = None,
    form: Mapping[str, Any] | None = None,
    content: str | bytes | None = None,
    credential: str | None = None,
    expect: Collection[int] = (),
    timeout: float | None = None,
) -> Answer:
    """Sends one request, as often as is safe and useful, and returns its answer. For use inside an action.

    Args:
        auth: headers that carry a secret; they are dropped when a redirect leads elsewhere.
        credential: the credential's name; the circuit breaker keeps one circuit for each host and credential.
        expect: statuses from 400 on that are answers like any other.
        timeout: seconds for one attempt from connecting to the answer's last byte; None: 5 s to connect, 30 s without
            hearing anything.

    Raises:
        RemoteError: a status of 400 or more; retriable for 429 and 5xx.
        ConnectionFailed: the other system could not be reached, or the connection broke.
        StepTimeout: no answer in time.
        CircuitOpen: it failed too often in a row.
        ActionError: the request can't be sent as it is, or the answer is too large.
    """
    call = current_call.get()
    prepared = _prepared(
        call.services.http,
        method.upper(),
        url,
        query=query,
        headers={**(headers or {}), **(auth or {})},
        json=json,
        form=form,
        content=content,
        timeout=timeout,
    )
    host = prepared.url.netloc.decode("ascii")
    source = f"{prepared.method} {host}"

    async def once(attempt: int) -> Answer:
        circuit = call.services.circuits.passing((host, credential), name=host, clock=call.services.clock)
        with circuit, _span(prepared):
            answer = await _sent(call.services.http, prepared, frozenset(auth or ()), source, timeout)
            annotate({"http.response.status_code": answer.status})
            if answer.status >= 400 and answer.status not in expect:
                raise remote_error(answer, call.services.masker, call.services.clock.now())
            return answer

    def note(line: str) -> None:
        call.repeats.append(line)
        call.logger.warning(call.services.masker.mask(line))

    if call.retry_declared:
        return await once(1)
    return await retried(once, SafeRetries(prepared.method), clock=call.services.clock, note=note)


@contextmanager
def _span(request: httpx.Request) -> Iterator[None]:
    """The span of one attempt, which the other system may go on with. It names the host only."""
    attributes = {"http.request.method": request.method, "server.address": request.url.host}
    with span(f"HTTP {request.method}", attributes, kind=SpanKind.CLIENT):
        if ours := traceparent():
            request.headers["traceparent"] = ours
        try:
            yield
        except IpaasError as error:
            mark_failed(error.code)
            raise


def _prepared(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    query: Mapping[str, Any] | None,
    headers: Mapping[str, str],
    json: Any,
    form: Mapping[str, Any] | None,
    content: str | bytes | None,
    timeout: float | None,
) -> httpx.Request:
    try:
        target = httpx.URL(url)
        if target.scheme not in {"http", "https"} or not target.host:
            raise ActionError("the URL must begin with http:// or https:// and name a host")
        return client.build_request(
            method,
            target.copy_merge_params(query) if query else target,
            headers=headers,
            json=json,
            data=form,
            content=content,
            timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
        )
    except httpx.InvalidURL as error:
        raise ActionError(f"the URL can't be used: {error}") from None
    except (TypeError, ValueError) as error:
        raise ActionError(f"the request can't be built: {error}") from None


async def _sent(
    client: httpx.AsyncClient, request: httpx.Request, secret: frozenset[str], source: str, seconds: float | None
) -> Answer:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await _followed(client, request, secret, source)
    except TimeoutError:
        if not limit.expired():
            raise
        raise StepTimeout(f"{source} did not answer within {seconds:g} s", retriable=True) from None
    except (httpx.ConnectTimeout, httpx.PoolTimeout):
        raise ConnectionFailed(f"{source} could not be reached within the time to connect", retriable=True) from None
    except httpx.TimeoutException:
        raise StepTimeout(f"{source} did not answer in time", retriable=True) from None
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        raise ActionError(f"{source} can't be sent: {error}") from None
    except httpx.ConnectError as error:
        raise ConnectionFailed(f"{source} could not be reached: {error}", retriable=True) from None
    except httpx.TransportError as error:
        raise ConnectionFailed(f"{source}: the connection broke: {error}", retriable=True) from None


async def _followed(client: httpx.AsyncClient, request: httpx.Request, secret: frozenset[str], source: str) -> Answer:
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(request, stream=True)
        try:
            if response.next_request is None:
                return Answer(response.status_code, response.headers, await _bounded(response, source), source)
        finally:
            await response.aclose()
        following = response.next_request
        if not _same_place(request.url, following.url):
            for header in {*secret, "Authorization", "Cookie", "Proxy-Authorization"}:
                following.headers.pop(header, None)
        request = following
    raise RemoteError(f"{source} redirected more than {MAX_REDIRECTS} times", status=response.status_code)


async def _bounded(response: httpx.Response, source: str) -> bytes:
    parts, size = [], 0
    try:
        async for part in response.aiter_bytes():
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise ActionError(f"{source} answered with more than {MAX_BODY_BYTES // 1024 // 1024} MiB")
            parts.append(part)
    except httpx.DecodingError:
        message = f"{source} answered {response.status_code} with a body that is not in the encoding it declares"
        raise RemoteError(message, status=response.status_code) from None
    return b"".join(parts)


def _same_place(old: httpx.URL, new: httpx.URL) -> bool:
    """Same host and port by the same scheme, or by the default ports from http up to https."""
    upgraded = new.scheme == "https" and old.port is None and new.port is None
    return old.host == new.host and ((old.scheme, old.port) == (new.scheme, new.port) or upgraded)


class _HostOnly(logging.Filter):
    """httpx logs every request's whole URL at level INFO; of ours it may show the host only."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and current_call.get(None) is not None:
            record.args = tuple(
                f"{arg.scheme}://{arg.host}" if isinstance(arg, httpx.URL) else arg for arg in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_HostOnly())
