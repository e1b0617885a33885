"""A vendor's API: where it is, how a request proves itself, what its errors mean, how its lists go on.

API = Api(
    "parcels",
    base_url="https://parcels.example",
    auth={ParcelsCredential: bearer("token")},
    errors=Errors({401: Fault("set the credential again")}),
    idempotency_header="Idempotency-Key",
)

@action("parcels.create_label", credential=ParcelsCredential)
async def create_label(*, order: str, credential: str) -> Label:
    answer = await API.post("/orders/{order}/labels", at={"order": order}, credential=credential)
    with answer.reading() as body:
        return {"id": body["id"]}
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, Literal, TypedDict, Unpack
from urllib.parse import quote, urljoin, urlsplit

from blocks.credential import Credential
from blocks.token_credential import TokenCredential
from connectors.kit.action import opened
from connectors.kit.answer import Answer
from connectors.kit.auth import Auth, Proof
from connectors.kit.call import current_call
from connectors.kit.http_client import request
from connectors.kit.paging import Next, Paginator, all_items
from connectors.kit.refusals import STATUS_ONLY, Errors
from foundation.errors import ActionError, CredentialError, RemoteError

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Options(TypedDict, total=False):
    """What a request can have. As `http_client.request` takes it, except for `at` and `credential`."""

    at: Mapping[str, Any]
    """What stands for the `{name}`s of the path. A value can't leave its segment."""
    credential: str | None
    """The name of a credential, of one of the API's types."""
    query: Mapping[str, Any] | None
    headers: Mapping[str, str] | None
    json: Any
    form: Mapping[str, Any] | None
    content: str | bytes | None
    expect: Collection[int]
    timeout: float | None


class Api:
    """
    Args:
        connector: its name; the operator's `IPAAS_CONNECTORS__<NAME>__BASE_URL` stands for the API's scheme and host.
        base_url: where paths begin; for vendors with an address for each customer, a function of the opened credential.
            None: paths are whole addresses, and come from the workflow.
        auth: for each type of credential it takes, how that proves itself.
        errors: what its errors mean.
        headers: what every request has.
        idempotency_header: the header in which it takes an idempotency key, for POST and PATCH.
    """

    def __init__(
        self,
        connector: str,
        *,
        auth: Mapping[type[Credential], Auth],
        base_url: str | Callable[[Any], str] | None = None,
        errors: Errors = STATUS_ONLY,
        headers: Mapping[str, str] | None = None,
        idempotency_header: str | None = None,
    ) -> None:
        self.connector, self.auth, self.errors = connector, dict(auth), errors
        self._base_url, self._headers, self._idempotency_header = base_url, dict(headers or {}), idempotency_header

    async def get(self, path: str = "", **options: Unpack[Options]) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str = "", **options: Unpack[Options]) -> Answer:
        return await self.request("POST", path, **options)

    async def request(self, method: str, path: str = "", **options: Unpack[Options]) -> Answer:
        """Sends one request. For use inside an action.

        Raises:
            ActionError: as `http_client.request`, or a value of `at` can't be part of a path.
            CredentialError: the credential can't be used.
        """
        credential = await self._opened(options.get("credential"))
        url = self._url(self._base(credential, options), path, options.get("at", {}))
        key = {self._idempotency_header: current_call.get().idempotency_key} if self._idempotency_header else {}
        return await self._send(method, url, credential, options, key if method.upper() in {"POST", "PATCH"} else {})

    async def items(
        self,
        path: str,
        paginator: Paginator,
        *,
        found_at: str = "",
        limit: int | None = None,
        method: Literal["GET", "POST"] = "GET",
        **options: Unpack[Options],
    ) -> list[Any]:
        """The items of a list, page after page.

        Args:
            found_at: where in each answer they are, as in `data.items`; empty: the answer is the list.
            limit: how many are wanted; None: all.
            method: with POST, a page is asked for in the JSON body.

        Raises:
            RemoteError: a page is not what it should be, or leads to another host.
            ActionError: as `request`, or there are more pages than one list may have.
        """
        credential = await self._opened(options.get("credential"))
        url = self._url(self._base(credential, options), path, options.get("at", {}))

        async def ask(wanted: Next) -> Answer:
            asked: Options
            if wanted.url is not None:
                following = urljoin(url, wanted.url)
                if _origin(following) != _origin(url):  # it would be sent the credential
                    raise RemoteError(f"{urlsplit(url).netloc} has its next page on another host", status=200)
                asked = {**options, "query": None}
                return await self._send("GET", following, credential, asked)
            if method == "POST":
                asked = {**options, "json": {**(options.get("json") or {}), **wanted.parameters}}
            else:
                asked = {**options, "query": {**(options.get("query") or {}), **wanted.parameters}}
            return await self._send(method, url, credential, asked)

        return await all_items(ask, paginator, found_at=found_at, limit=limit)

    async def _opened(self, name: str | None) -> Credential | None:
        return await opened(name, *self.auth) if name is not None else None

    def _base(self, credential: Credential | None, options: Options) -> str | None:
        """Where the credential says that the API is."""
        if not callable(self._base_url):
            return self._base_url
        with _naming(options.get("credential")):
            return self._base_url(credential) if credential else None

    def _proof(self, credential: Credential | None, name: str | None) -> Proof:
        if credential is None:
            return Proof()
        prove = next(prove for kind, prove in self.auth.items() if isinstance(credential, kind))
        with _naming(name):
            return prove(credential)

    def _url(self, base: str | None, path: str, at: Mapping[str, Any]) -> str:
        filled = path.format_map({name: _segment(name, value) for name, value in at.items()}) if at else path
        if base is None:
            return filled
        vendors = urlsplit(base)
        place = current_call.get().services.base_url(self.connector, f"{vendors.scheme}://{vendors.netloc}")
        return f"{place}{vendors.path.rstrip('/')}{filled}{f'?{vendors.query}' if vendors.query else ''}"

    async def _send(
        self,
        method: str,
        url: str,
        credential: Credential | None,
        options: Options,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Answer:
        """Sends it; once more with another access token when the one that it carried is refused."""
        try:
            return await self._sent(method, url, credential, options, headers)
        except RemoteError as error:
            if error.status != 401 or not isinstance(credential, TokenCredential) or not await credential.renewed():
                raise
        return await self._sent(method, url, credential, options, headers)

    async def _sent(
        self, method: str, url: str, credential: Credential | None, options: Options, headers: Mapping[str, str]
    ) -> Answer:
        proof = self._proof(credential, options.get("credential"))
        own = {**self._headers, **(options.get("headers") or {})}
        known = {name.lower() for name in own}
        return await request(
            method,
            url,
            query={**(options.get("query") or {}), **proof.query},
            headers={**own, **{name: value for name, value in headers.items() if name.lower() not in known}},
            auth=proof.headers,
            json=options.get("json"),
            form=options.get("form"),
            content=options.get("content"),
            credential=options.get("credential"),
            expect=options.get("expect", ()),
            errors=self.errors,
            timeout=options.get("timeout"),
            trusted_host=self._base_url is not None,
        )


@contextmanager
def _naming(name: str | None) -> Iterator[None]:
    """Faults of a credential say whose they are."""
    try:
        yield
    except CredentialError as error:
        raise CredentialError(f"credential {name!r}: {error}") from None


def given(**arguments: Any) -> dict[str, Any]:
    """The arguments that were given: those that are None are left out."""
    return {name: value for name, value in arguments.items() if value is not None}


def _segment(name: str, value: Any) -> str:
    text = quote(str(value), safe="")
    if text in {"", ".", ".."}:
        raise ActionError(f"`{name}` can't be part of an address: it is empty or made of dots")
    return text


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
