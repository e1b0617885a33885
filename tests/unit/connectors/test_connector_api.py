"""What a connector's `Api` does for its actions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks import BasicAuth, BearerToken
from blocks.credential import BLOCK_TYPES, Credential
from connectors.kit.action import action
from connectors.kit.api import Api, given
from connectors.kit.auth import basic, bearer, header, in_the_address, query
from connectors.kit.paging import Cursor, LinkHeader
from connectors.kit.refusals import Errors, Fault
from connectors.kit.retry import RetryPolicy
from connectors.kit.testing import acting, answers
from foundation.errors import ActionError, CredentialError, RemoteError

BASE = "https://parcels.example/v2"
CREDENTIALS = {"mine": {"token": "token-1234"}}


class ShopCredential(Credential):
    _block_type_slug = "test-shop"
    _block_type_name = "Shop"
    _description = "A shop with an address of its own."

    shop: str
    token: SecretStr


BLOCK_TYPES.pop("test-shop")  # other tests look at all types


@action("parcels.send", credential=(BearerToken, BasicAuth, ShopCredential))
async def send(*, api: Any, method: str = "GET", credential: str | None = None, options: dict[str, Any]) -> Any:
    """Sends: https://parcels.example/docs"""
    return (await api.request(method, credential=credential, **options)).json()


@action("parcels.all", credential=BearerToken)
async def everything(*, api: Any, paginator: Any, credential: str | None = None, options: dict[str, Any]) -> list[Any]:
    """Lists: https://parcels.example/docs"""
    return await api.items("/parcels", paginator, credential=credential, **options)


def parcels(**changes: Any) -> Api:
    return Api("parcels", **{"base_url": BASE, "auth": {BearerToken: bearer("token")}, **changes})


async def sent(
    api: Api,
    *,
    method: str = "GET",
    credential: str | None = "mine",
    credentials: Mapping[str, Any] = CREDENTIALS,
    base_urls: Mapping[str, str] | None = None,
    **options: Any,
) -> httpx.Request:
    """The request that `api.request(method, **options)` sends."""
    async with acting(answers(httpx.Response(200, json={})), credentials, base_urls=base_urls) as stage:
        await send(api=api, method=method, credential=credential, options=options)
    return stage.requests[0]


async def test_a_path_begins_at_the_base_url() -> None:
    assert str((await sent(parcels(), path="/labels")).url) == f"{BASE}/labels"


async def test_the_operators_address_stands_for_scheme_and_host() -> None:
    request = await sent(parcels(), path="/labels", base_urls={"parcels": "http://127.0.0.1:9/proxy/"})
    assert str(request.url) == "http://127.0.0.1:9/proxy/v2/labels"


async def test_a_credential_may_say_where_its_api_is() -> None:
    api = parcels(base_url=lambda one: f"https://{one.shop}.parcels.example/", auth={ShopCredential: bearer("token")})
    request = await sent(api, path="/labels", credentials={"mine": {"shop": "acme", "token": "token-1234"}})
    assert str(request.url) == "https://acme.parcels.example/labels"


async def test_without_a_base_url_a_path_is_the_address_as_it_is_written() -> None:
    api = parcels(base_url=None)
    assert str((await sent(api, path="http://127.0.0.1:9/{a}?b=%2F")).url) == "http://127.0.0.1:9/%7Ba%7D?b=%2F"


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("A1", "A1"),
        (7, "7"),
        ("a/b", "a%2Fb"),
        ("../admin", "..%2Fadmin"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("a b%2F", "a%20b%252F"),
        ("@evil.example", "%40evil.example"),
        ("ü", "%C3%BC"),
    ],
)
async def test_a_value_cannot_leave_its_segment_of_the_path(value, segment) -> None:
    request = await sent(parcels(), path="/orders/{order}/labels", at={"order": value})
    assert request.url.raw_path.decode() == f"/v2/orders/{segment}/labels"
    assert request.url.host == "parcels.example"


@pytest.mark.parametrize("value", ["", ".", ".."])
async def test_what_would_change_the_path_is_refused(value) -> None:
    with pytest.raises(ActionError, match="`order` can't be part of an address"):
        await sent(parcels(), path="/orders/{order}/labels", at={"order": value})


@pytest.mark.parametrize(
    ("auth", "headers", "params"),
    [
        ({BearerToken: bearer("token")}, {"authorization": "Bearer token-1234"}, {}),
        ({BearerToken: header("X-Key", "token")}, {"x-key": "token-1234"}, {}),
        ({BearerToken: header("X-Key", "token", prefix="Key ")}, {"x-key": "Key token-1234"}, {}),
        ({BearerToken: query("key", "token")}, {}, {"key": "token-1234"}),
        ({BearerToken: in_the_address}, {}, {}),
    ],
)
async def test_a_credential_proves_itself_as_the_vendor_wants(auth, headers, params) -> None:
    request = await sent(parcels(auth=auth), query={"a": "b"})
    assert dict(request.url.params) == {"a": "b"} | params
    shown = {name: value for name, value in request.headers.items() if name in {"authorization", "x-key"}}
    assert shown == headers


async def test_each_type_of_credential_in_its_way() -> None:
    api = parcels(auth={BearerToken: bearer("token"), BasicAuth: basic("username", "password")})
    request = await sent(api, credentials={"mine": {"username": "ada", "password": "pass-1"}})
    assert request.headers["authorization"] == "Basic YWRhOnBhc3MtMQ=="
    assert (await sent(api)).headers["authorization"] == "Bearer token-1234"


async def test_a_credential_that_cannot_be_used_is_named() -> None:
    def refuse(credential: Any) -> str:
        raise CredentialError("it has no address")

    with pytest.raises(CredentialError, match="credential 'mine': it has no address"):
        await sent(parcels(base_url=refuse))


async def test_posts_carry_the_key_where_the_vendor_takes_one() -> None:
    api = parcels(idempotency_header="X-Idempotency")
    assert (await sent(api, method="post")).headers["x-idempotency"] == "execution:parcels.send"
    assert "x-idempotency" not in (await sent(api, method="GET")).headers
    assert "x-idempotency" not in (await sent(parcels(), method="POST")).headers
    own = await sent(api, method="POST", headers={"x-IDEMPOTENCY": "mine"})
    assert own.headers.get_list("x-idempotency") == ["mine"]


async def test_every_request_has_the_apis_headers() -> None:
    api = parcels(headers={"Api-Version": "2026-01-01", "Accept": "application/json"})
    request = await sent(api, headers={"Accept": "text/csv"})
    assert (request.headers["api-version"], request.headers["accept"]) == ("2026-01-01", "text/csv")


async def failed(api: Api, answer: httpx.Response, **acts: Any) -> RemoteError:
    async with acting(answers(answer), CREDENTIALS, **acts):
        with pytest.raises(RemoteError) as error:
            await send(api=api, credential="mine", options={})
    return error.value


async def test_the_table_says_what_to_do_by_word_else_by_status() -> None:
    table = {"label_used": Fault("order a new label"), 404: Fault("check the order's id")}
    api = parcels(errors=Errors(table, word="code"))
    gone = httpx.Response(404, json={"code": "label_used", "message": "This label was used."})
    assert str(await failed(api, gone)).endswith("answered 404: This label was used.; order a new label")
    unknown = httpx.Response(404, json={"code": "other", "message": "No such order."})
    assert str(await failed(api, unknown)).endswith("answered 404: No such order.; check the order's id")
    assert str(await failed(api, httpx.Response(418, json={"code": "x"}))).endswith("answered 418: I'm a teapot")


async def test_the_table_says_what_is_worth_another_try() -> None:
    table = {"locked": Fault(retriable=True), "broken": Fault(retriable=False), "busy": Fault(status=503)}
    api = parcels(errors=Errors(table, word="code"))
    assert (await failed(api, httpx.Response(409, json={"code": "locked"}))).retriable
    assert not (await failed(api, httpx.Response(500, json={"code": "broken"}))).retriable
    busy = await failed(api, httpx.Response(400, json={"code": "busy"}))
    assert (busy.status, busy.retriable) == (503, True)


async def test_a_refusal_in_a_200_is_an_error_that_is_retried_like_any_other() -> None:
    errors = Errors({"busy": Fault(status=429)}, word="error", refused=lambda a: not a.json()["ok"], vendor="Parcels")
    busy = httpx.Response(200, json={"ok": False, "error": "busy"}, headers={"Retry-After": "4"})
    fine = httpx.Response(200, json={"ok": True})
    async with acting(answers(busy, fine), CREDENTIALS) as stage:
        assert await send(api=parcels(errors=errors), credential="mine", options={}) == {"ok": True}
    assert stage.clock.slept == [4]
    error = await failed(parcels(errors=errors), httpx.Response(200, json={"ok": False, "error": "bad"}))
    assert str(error) == "Parcels refused: bad"


async def test_a_word_is_masked_and_cut() -> None:
    errors = Errors(word="error", refused=lambda answer: True)
    said = httpx.Response(200, json={"error": "x" * 290 + "token-1234"})
    error = await failed(parcels(errors=errors), said, policy=RetryPolicy(attempts=1))
    assert "token" not in str(error)
    assert len(str(error)) < 350


def pages(request: httpx.Request) -> httpx.Response:
    """Three pages of two, by a cursor in the query or in the body."""
    asked = json.loads(request.content) if request.content else dict(request.url.params)
    number = int(asked.get("cursor") or 0)
    following = str(number + 1) if number < 2 else ""
    return httpx.Response(200, json={"data": {"items": [2 * number, 2 * number + 1]}, "next": following})


async def listed(handler: Any, paginator: Any, **options: Any) -> tuple[list[Any], list[httpx.Request]]:
    api = parcels(idempotency_header="Idempotency-Key")
    async with acting(handler, CREDENTIALS) as stage:
        found = await everything(api=api, paginator=paginator, credential="mine", options=options)
    return found, stage.requests


async def test_a_list_is_read_page_after_page_with_the_credential() -> None:
    found, requests = await listed(pages, Cursor("cursor", "next"), found_at="data.items", query={"state": "new"})
    assert found == [0, 1, 2, 3, 4, 5]
    assert [dict(request.url.params) for request in requests] == [
        {"state": "new"},
        {"state": "new", "cursor": "1"},
        {"state": "new", "cursor": "2"},
    ]
    assert {request.headers["authorization"] for request in requests} == {"Bearer token-1234"}


async def test_a_list_may_be_asked_for_with_post() -> None:
    found, requests = await listed(
        pages, Cursor("cursor", "next"), found_at="data.items", method="POST", json={"state": "new"}, limit=3
    )
    assert found == [0, 1, 2]
    assert [json.loads(request.content) for request in requests] == [{"state": "new"}, {"state": "new", "cursor": "1"}]
    assert all("idempotency-key" not in request.headers for request in requests)  # each page is another answer


@pytest.mark.parametrize("link", ["/v2/parcels?page=2", f"{BASE}/parcels?page=2"])
async def test_a_list_may_go_on_at_an_address(link) -> None:
    handler = answers(
        httpx.Response(200, json=[1], headers={"Link": f'<{link}>; rel="next"'}), httpx.Response(200, json=[2])
    )
    found, requests = await listed(handler, LinkHeader(), query={"state": "new"})
    assert found == [1, 2]
    assert [str(request.url) for request in requests] == [f"{BASE}/parcels?state=new", f"{BASE}/parcels?page=2"]


@pytest.mark.parametrize("link", ["https://evil.example/v2", "http://parcels.example/v2", "//evil.example/v2"])
async def test_a_list_does_not_go_on_elsewhere(link) -> None:
    handler = answers(httpx.Response(200, json=[1], headers={"Link": f'<{link}>; rel="next"'}))
    async with acting(handler, CREDENTIALS) as stage:
        with pytest.raises(RemoteError, match="next page on another host"):
            await everything(api=parcels(), paginator=LinkHeader(), credential="mine", options={})
    assert len(stage.requests) == 1


def test_given_leaves_out_what_is_none() -> None:
    assert given(a=None, b=0, c="", d=[]) == {"b": 0, "c": "", "d": []}
