"""Prefect's server answers its own pages and programs, and no page of another site.

Prefect looks at neither `Host` nor `Origin`, and its CORS allows everybody: any page that a person opens could use the
API on that person's machine, directly or by giving its own name the machine's address (DNS rebinding). Here

- `Host` must be an address that the server has, or a name that the operator gave it;
- `Origin`, which browsers send with all that can change something, and with WebSockets, must be one of those, too;
- a request without one, which a browser says that another site's page makes (`Sec-Fetch-Site`), is let in only when a
  person follows a link: not for a picture, a script or a frame.

What no browser sends, like our own worker's requests, has no `Origin` and passes.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    return host == "localhost" or bool((address := _parsed(host)) and address.is_loopback)


def is_every_address(host: str) -> bool:
    return bool((address := _parsed(host)) and address.is_unspecified)


def with_port(host: str, port: int) -> str:
    """As in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def own_hosts(host: str, port: int, named: Iterable[str] = (), urls: Iterable[str | None] = ()) -> frozenset[str]:
    """What a server may be called in `Host`.

    Args:
        host: where it listens.
        named: as the operator writes them: a host, with its port unless that is 80 or 443.
        urls: under which it is known.
    """
    names = set(LOOPBACK) if is_loopback(host) or is_every_address(host) else set()
    if not is_every_address(host):
        names.add(host)
    hosts = {with_port(name, port) for name in names} | set(named)
    hosts |= {urlsplit(url).netloc.rpartition("@")[2] for url in urls if url}
    return frozenset(map(_plain, hosts)) - {""}


def own_origins(hosts: Collection[str]) -> list[str]:
    return [f"{scheme}://{host}" for host in sorted(hosts) for scheme in ("http", "https")]


class OwnSiteOnly:
    """Answers 403 to what comes from elsewhere, before the application sees it; WebSockets alike.

    Args:
        hosts: of `own_hosts`. The address that a request has come in at is one's own without being listed.
    """

    def __init__(self, app: App, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})  # not accepted: answered with 403
        else:
            body = json.dumps({"detail": reason}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> str | None:
        """Why a request is not let in; None if it is."""
        host, origin = _header(scope, b"host"), _header(scope, b"origin")
        if host is None or not self._is_own(host, scope):
            return "this is not the host that was asked for; name it in IPAAS_PREFECT_HOSTS if it should be"
        if origin is not None:
            scheme, _, site = origin.partition("://")
            if scheme in ("http", "https") and self._is_own(site, scope):
                return None
            return "pages of other sites may not use this server"
        if _header(scope, b"sec-fetch-site") in ("cross-site", "same-site") and not _follows_a_link(scope):
            return "pages of other sites may not use this server"
        return None

    def _is_own(self, host: str, scope: Scope) -> bool:
        return (plain := _plain(host)) in self._hosts or plain == _address(scope)


def _follows_a_link(scope: Scope) -> bool:
    """A person comes from another site's page to this one: nothing is changed, and that page sees nothing of it."""
    return (
        scope.get("method") in ("GET", "HEAD")
        and _header(scope, b"sec-fetch-mode") == "navigate"
        and _header(scope, b"sec-fetch-dest") == "document"
    )


def _address(scope: Scope) -> str | None:
    """The address that a request has come in at. An address only: a name is nobody's until the operator says so."""
    host, port = scope.get("server") or ("", None)
    return _plain(with_port(host, port)) if _parsed(host) and port else None


def _header(scope: Scope, name: bytes) -> str | None:
    """A header's value; None if it is absent. One that is sent twice has no value that could be trusted."""
    values = [value.decode("latin-1").strip().lower() for key, value in scope["headers"] if key.lower() == name]
    if len(values) > 1:
        return "sent twice"
    return values[0] if values else None


def _plain(host: str) -> str:
    """As it is compared: lower case, and without a port that its scheme implies."""
    return host.strip().lower().removesuffix(":80").removesuffix(":443")


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:  # a name
        return None
