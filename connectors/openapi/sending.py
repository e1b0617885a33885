"""Calls of operations: the request made of the values, sent the one way in which actions send them, and the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import httpx

from blocks.credential import Credential
from blocks.token_credential import TokenCredential
from connectors.http import HttpResponse
from connectors.kit.action import opened
from connectors.kit.answer import Answer
from connectors.kit.call import current_call
from connectors.kit.egress import place_of
from connectors.kit.http_client import request
from connectors.kit.paging import Next, all_items
from connectors.openapi.bodies import written
from connectors.openapi.checking import by_argument, fitted
from connectors.openapi.faults import CallError, DocumentError
from connectors.openapi.operation import Operation, Parameter
from connectors.openapi.paging import pages_of
from connectors.openapi.parameters import in_query, place
from connectors.openapi.proof import TYPES, Proven, prove
from connectors.openapi.security import credential_required, credential_types
from connectors.openapi.tokens import access_token, forget_token
from foundation.duration import in_seconds
from foundation.errors import CredentialError, RemoteError

Json = Any

_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")
_IN_HOST: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_IN_PATH: Final = re.compile(r"(?!\.)[A-Za-z0-9._~-]+(/(?!\.)[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True)
class Config:
    """What the project says of a document's calls.

    Attributes:
        connector: whose `IPAAS_CONNECTORS__…__BASE_URL` stands for the server's scheme and host.
        pagination: how lists go on.
        trusted: the servers are the project's own choice, and may be anywhere.
    """

    connector: str = "openapi"
    server: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    check: bool = True
    pagination: Mapping[str, Json] | None = None
    trusted: bool = True


@dataclass(frozen=True)
class Wanted:
    """One call."""

    operation: Operation
    parameters: Mapping[str, Json]
    body: Json
    options: Mapping[str, Json]
    credential: str | None
    config: Config


async def call_operation(wanted: Wanted) -> HttpResponse:
    """Calls it. For use inside an action.

    Raises:
        CallError: the operation does not take that; nothing was sent.
        DocumentError: the document can't be used.
        CredentialError: the credential is missing, or does not fit.
        ActionError: as `http_client.request`.
    """
    return await _Sending(wanted).answer()


class _Sending:
    def __init__(self, wanted: Wanted) -> None:
        self._wanted, self._operation, self._options = wanted, wanted.operation, wanted.options
        self._values = by_argument(self._operation, wanted.parameters)
        self._body, self._content_type = wanted.body, ""
        self._takes_body()
        if wanted.config.check:
            self._values, self._body = fitted(self._operation, self._values, self._body, self._content_type)
        self._server, self._trusted = server_of(self._operation, self._options, wanted.config)

    async def answer(self) -> HttpResponse:
        credential = await self._opened()
        said = self._options.get("paginate")
        if not said:
            return _response(await self._asked(credential, Next()))
        if said is True:
            said = self._wanted.config.pagination
            if said is None:
                raise CallError("`paginate: true` needs `pagination` in the project's file of the connector")
        pages = pages_of(said)
        last: list[Answer] = []

        async def ask(following: Next) -> Answer:
            last[:] = [await self._asked(credential, following)]
            return last[0]

        items = await all_items(ask, pages.paginator, found_at=pages.items, limit=pages.limit)
        return {**_response(last[0]), "body": items}

    def _takes_body(self) -> None:
        name = self._operation.name
        if self._body is None:
            if self._operation.body_required:
                raise CallError(f"{name} needs a `body`")
            return
        self._content_type = self._operation.body(self._options.get("content_type")).content_type

    async def _opened(self) -> Credential | None:
        name = self._wanted.credential
        if name is None:
            if credential_required(self._operation):
                types = " or ".join(credential_types(self._operation))
                raise CredentialError(f"{self._operation.name} needs `credential`, the name of one of type {types}")
            return None
        kinds = credential_types(self._operation)
        if not kinds:
            raise CredentialError(f"{self._operation.name} takes no credential")
        credential: Credential = await opened(name, *(TYPES[kind] for kind in kinds))
        return credential

    async def _asked(self, credential: Credential | None, following: Next) -> Answer:
        """Once more with another access token when the one that it carried is refused."""
        try:
            return await self._sent(await self._proven(credential), following)
        except RemoteError as error:
            if error.status != 401 or not isinstance(credential, TokenCredential) or not await credential.renewed():
                raise
        return await self._sent(await self._proven(credential), following)

    async def _proven(self, credential: Credential | None) -> Proven:
        if credential is None:
            return Proven()
        proven = prove(self._operation, credential)
        if proven.token is None:
            return proven
        name = str(self._wanted.credential)
        token = await access_token(proven.token, name, base=self._server, trusted=self._trusted)
        return Proven(headers={"Authorization": f"Bearer {token}"}, token=proven.token)

    async def _sent(self, proven: Proven, following: Next) -> Answer:
        operation, options = self._operation, self._options
        values, body, further = self._paged(following)
        placed = place(operation.parameters, values)
        method, content, kinds = operation.about.method, None, dict[str, str]()
        if body is not None:
            content, kinds = written(operation, body, self._content_type)
        query = [
            placed.query,
            *further,
            *(f"{quote(key)}={quote(value, safe='')}" for key, value in proven.query.items()),
        ]
        url = self._url(placed.path, "&".join(one for one in query if one))
        if following.url is not None:
            url, kinds, content, method = self._next(url, following.url, proven), {}, None, "GET"
        cookies = [*placed.cookies, *(f"{key}={value}" for key, value in proven.cookies.items())]
        auth = {**proven.headers, **({"Cookie": "; ".join(cookies)} if cookies else {})}
        headers = {**self._accept(), **placed.headers, **(options.get("headers") or {}), **kinds}
        if method in ("POST", "PATCH") and not any(name.lower() == "idempotency-key" for name in headers):
            headers["Idempotency-Key"] = current_call.get().idempotency_key
        timeout = options.get("timeout")
        try:
            return await request(
                method,
                url,
                headers={str(name): str(value) for name, value in headers.items()},
                auth=auth,
                content=content,
                credential=self._wanted.credential,
                expect=options.get("expect") or (),
                timeout=None if timeout is None else in_seconds(timeout),
                trusted_host=self._trusted,
            )
        except RemoteError as error:
            if error.status == 401 and proven.token is not None:
                forget_token(proven.token)  # the next attempt asks for another one
            raise

    def _paged(self, following: Next) -> tuple[Mapping[str, Json], Json, list[str]]:
        """The values with those of the page; those that are no parameters of the operation stand in the query, or in
        the body of a POST."""
        known = {one.name: one.argument for one in self._operation.parameters}
        own = {known[name]: value for name, value in following.parameters.items() if name in known}
        others = {name: value for name, value in following.parameters.items() if name not in known}
        if others and isinstance(self._body, Mapping):
            return {**self._values, **own}, {**self._body, **others}, []
        further = [
            part
            for name, value in others.items()
            for part in in_query(Parameter(name, "query", name, style="form", explode=True), value)
        ]
        return {**self._values, **own}, self._body, further

    def _url(self, path: Mapping[str, str], query: str) -> str:
        def filled(found: re.Match[str]) -> str:
            try:
                return path[found[1]]
            except KeyError:
                name, at = self._operation.document.name, self._operation.about.path
                raise DocumentError(f"{name}: {at} has {{{found[1]}}}, which is no parameter of the path") from None

        written_path = quote(_VARIABLE.sub(filled, self._operation.about.path), safe="/%:@!$&'()*+,;=-._~?")
        return f"{self._server}{written_path}" + (("&" if "?" in written_path else "?") + query if query else "")

    def _next(self, url: str, following: str, proven: Proven) -> str:
        there = urljoin(url, following)
        old, new = httpx.URL(url), httpx.URL(there)
        if (old.scheme, place_of(old)) != (new.scheme, place_of(new)):  # it would be sent the credential
            raise RemoteError(f"{old.netloc.decode()} has its next page on another host", status=200)
        missing = {key: value for key, value in proven.query.items() if key not in new.params}
        return str(new.copy_merge_params(missing)) if missing else there

    def _accept(self) -> dict[str, str]:
        return {"Accept": "application/json, */*;q=0.8"} if self._operation.result is not None else {}


def server_of(operation: Operation, options: Mapping[str, Json], config: Config) -> tuple[str, bool]:
    """Where the API is, without a slash at its end, and whether that is the project's choice.

    Raises:
        CallError: a variable of its address has no value, or one that it can't have.
        DocumentError: the document names no server that can be reached.
    """
    name, given = operation.document.name, options.get("server")
    default = operation.servers[0] if operation.servers else {"url": "/"}
    server: Mapping[str, Json] = {"url": given or config.server} if given or config.server else default
    chosen = options.get("variables") or {}
    url = _filled(server, {**config.variables, **chosen}, name)
    url = urljoin(operation.document.location, url) if not urlsplit(url).scheme else url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DocumentError(f"{name} does not say where the API is: set `server`")
    services = current_call.get().services
    at = services.base_url(config.connector, f"{parts.scheme}://{parts.netloc}")
    is_set = at != f"{parts.scheme}://{parts.netloc}"
    return f"{at}{parts.path}".rstrip("/"), is_set or (config.trusted and not given and not chosen)


def _filled(server: Mapping[str, Json], values: Mapping[str, Json], name: str) -> str:
    variables = server.get("variables") if isinstance(server.get("variables"), Mapping) else {}
    url = str(server["url"])
    host_end = url.find("/", url.find("://") + 3)

    def value_of(found: re.Match[str]) -> str:
        said = (variables or {}).get(found[1])
        said = said if isinstance(said, Mapping) else {}
        value = str(values.get(found[1], said.get("default", "")))
        allowed = said.get("enum")
        if isinstance(allowed, list) and value not in map(str, allowed):
            raise CallError(f"{name}: the server's variable {found[1]!r} must be one of {', '.join(map(str, allowed))}")
        if not value and not said:
            raise CallError(f"{name}: the server's address needs the variable {found[1]!r}: set it in `variables`")
        form = _IN_PATH if 0 <= host_end < found.start() else _IN_HOST
        if found[1] in values and not form.fullmatch(value):
            raise CallError(f"{name}: the server's variable {found[1]!r} has a character that no address has there")
        return value

    return _VARIABLE.sub(value_of, url)


def _response(answer: Answer) -> HttpResponse:
    return {"status": answer.status, "headers": dict(answer.headers), "body": answer.value()}
