"""The HTTP client that every action shares, and the one way in which actions send requests.

What an action gets from it: one pool of connections, timeouts, retries of what is safe to repeat, a circuit breaker, a
bound on the answer's size, redirects that never carry a credential elsewhere, and errors that say what the other
system said. Errors and logs name the host only: paths and queries may hold secrets.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import httpx

from connectors.kit.addresses import Allowed
from connectors.kit.answer import Answer
from connectors.kit.call import current_call
from connectors.kit.egress import MAY_BE_PRIVATE, EgressTransport
from connectors.kit.exchange import exchange
from connectors.kit.refusals import STATUS_ONLY, Errors
from connectors.kit.retry import SafeRetries, retried
from foundation.errors import ActionError, IpaasError
from foundation.tracing import SpanKind, annotate, mark_failed, span, traceparent

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0


def new_client(
    transport: httpx.AsyncBaseTransport | None = None,
    *,
    egress_allow: Sequence[str] = (),
    max_connections: int = 200,
) -> httpx.AsyncClient:
    """A client for `Services.http`. It keeps no cookies: what one execution is given is no other one's business.

    Args:
        transport: instead of `network`; for tests.
        egress_allow, max_connections: as for `network`.

    Raises:
        ConfigurationError: `egress_allow` has something else than networks and hosts.
    """
    return httpx.AsyncClient(
        transport=transport or network(egress_allow, max_connections),
        timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        headers={"User-Agent": f"prefect-ipaas/{_our_version()}"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
    )


def network(egress_allow: Sequence[str] = (), max_connections: int = 200) -> EgressTransport:
    """The network as actions may use it, through the environment's proxies.

    Args:
        egress_allow: what addresses from data may reach besides the public: `Settings.egress_allow`.

    Raises:
        ConfigurationError: `egress_allow` has something else than networks and hosts.
    """
    limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections // 2)
    return EgressTransport(limits, Allowed.of(egress_allow))


@cache
def _our_version() -> str:
    try:
        return version("prefect-ipaas")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "dev"


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
    errors: Errors = STATUS_ONLY,
    timeout: float | None = None,
    trusted_host: bool = False,
) -> Answer:
    """Sends one request, as often as is safe and useful, and returns its answer. For use inside an action.

    Args:
        auth: headers that carry a secret; they are dropped when a redirect leads elsewhere.
        credential: the credential's name; the circuit breaker keeps one circuit for each host and credential.
        expect: statuses from 400 on that are answers like any other.
        errors: what the vendor's errors mean.
        timeout: seconds for one attempt from connecting to the answer's last byte; None: 5 s to connect, 30 s without
            hearing anything.
        trusted_host: the host is the operator's, the credential's or the connector's own, and may be anywhere; else
            only one that the workflow's author wrote may be private.

    Raises:
        RemoteError: a status of 400 or more, or a refusal as `errors` has it; retriable for 429 and 5xx.
        ConnectionFailed: the other system could not be reached, or the connection broke.
        StepTimeout: no answer in time.
        CircuitOpen: it failed too often in a row.
        EgressRefused: the address comes from data, or from a redirect, and is not public.
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
    prepared.extensions[MAY_BE_PRIVATE] = trusted_host or call.wrote_host
    host = prepared.url.netloc.decode("ascii")
    source = f"{prepared.method} {host}"

    async def once(attempt: int) -> Answer:
        circuit = call.services.circuits.passing((host, credential), name=host, clock=call.services.clock)
        with circuit, _span(prepared):
            answer = await exchange(
                call.services.http, prepared, secret=frozenset(auth or ()), source=source, seconds=timeout
            )
            annotate({"http.response.status_code": answer.status})
            if answer.status not in expect and (
                error := errors.error_in(answer, call.services.masker, call.services.clock.now())
            ):
                raise error
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


class _HostOnly(logging.Filter):
    """httpx logs every request's whole URL at level INFO; of ours it may show the host only."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and current_call.get(None) is not None:
            record.args = tuple(
                f"{arg.scheme}://{arg.host}" if isinstance(arg, httpx.URL) else arg for arg in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_HostOnly())
