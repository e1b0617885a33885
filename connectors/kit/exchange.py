"""One request and its answer: sent, redirected, bounded, its failures told apart.

Errors name the host only: paths and queries may hold secrets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Final

import httpx

from connectors.kit.answer import Answer
from connectors.kit.egress import MAY_BE_PRIVATE
from foundation.errors import ActionError, ConnectionFailed, RemoteError, StepTimeout

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
MAX_REDIRECTS: Final = 5


async def exchange(
    client: httpx.AsyncClient,
    request: httpx.Request,
    *,
    secret: Set[str],
    source: str,
    seconds: float | None,
    redirects: int = MAX_REDIRECTS,
) -> Answer:
    """Sends the request, follows its redirects, and reads the answer to its end.

    Args:
        secret: the headers that are dropped when a redirect leads elsewhere.
        source: what errors call the other side.
        seconds: for all of it; None: what the client allows for each part.
        redirects: how many may be followed; the body goes along.

    Raises:
        ConnectionFailed: the other side could not be reached, or the connection broke.
        StepTimeout: no answer in time.
        EgressRefused: the request, or a redirect, leads where it may not.
        RemoteError: too many redirects, or a body that is not in the encoding it declares.
        ActionError: the request can't be sent as it is, or the answer is too large.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await _followed(client, request, secret, source, redirects)
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


async def _followed(
    client: httpx.AsyncClient, request: httpx.Request, secret: Set[str], source: str, redirects: int
) -> Answer:
    for _ in range(redirects + 1):
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
            following.extensions[MAY_BE_PRIVATE] = False  # whoever redirects is no author of ours
        request = following
    raise RemoteError(f"{source} redirected more than {redirects} times", status=response.status_code)


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
