"""http.request"""

from __future__ import annotations

import httpx
import pytest

from connectors import http
from connectors.kit.testing import acting, answers
from foundation.errors import ActionError, CredentialError, RemoteError

URL = "http://127.0.0.1:9/orders"


async def requested(*, answer: httpx.Response | None = None, credentials=None, **arguments) -> httpx.Request:
    """The request that `http.request(**arguments)` sends."""
    async with acting(answers(answer or httpx.Response(200)), credentials) as stage:
        await http.request(**{"url": URL, **arguments})
    return stage.requests[0]


async def body_of(answer: httpx.Response):
    async with acting(answers(answer)):
        return (await http.request(url=URL))["body"]


async def test_it_gets_by_default() -> None:
    request = await requested()
    assert (request.method, str(request.url), request.content) == ("GET", URL, b"")


async def test_the_query_is_added_to_the_urls_own() -> None:
    request = await requested(url=f"{URL}?a=1", query={"b": "x y", "c": [1, 2]})
    assert request.url.query == b"a=1&b=x+y&c=1&c=2"


@pytest.mark.parametrize(
    ("argument", "content_type", "content"),
    [
        ({"json": {"a": [1]}}, "application/json", b'{"a":[1]}'),
        ({"json": []}, "application/json", b"[]"),
        ({"form": {"a": "x y", "n": 2}}, "application/x-www-form-urlencoded", b"a=x+y&n=2"),
        ({"body": "<a/>", "headers": {"Content-Type": "text/xml"}}, "text/xml", b"<a/>"),
    ],
)
async def test_a_body_is_json_a_form_or_text(argument, content_type, content) -> None:
    request = await requested(method="post", **argument)
    assert (request.method, request.headers["content-type"], request.content) == ("POST", content_type, content)


async def test_two_bodies_are_refused() -> None:
    with pytest.raises(ActionError, match="one of json, form and body"):
        await requested(json={}, body="x")


@pytest.mark.parametrize(
    ("fields", "header", "value"),
    [
        ({"token": "token-1"}, "authorization", "Bearer token-1"),
        ({"username": "ada", "password": "pass-1"}, "authorization", "Basic YWRhOnBhc3MtMQ=="),
        ({"key": "key-1"}, "x-api-key", "key-1"),
        ({"key": "key-1", "header": "X-Shop"}, "x-shop", "key-1"),
    ],
)
async def test_a_credential_of_each_type_authenticates_it(fields, header, value) -> None:
    assert (await requested(credential="c", credentials={"c": fields})).headers[header] == value


async def test_an_echoed_basic_header_is_masked() -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.headers["authorization"])

    async with acting(echo, {"c": {"username": "ada", "password": "pass-1"}}):
        assert (await http.request(url=URL, credential="c"))["body"] == "Basic ********"


async def test_a_credential_of_another_type_is_refused() -> None:
    with pytest.raises(CredentialError):
        await requested(credential="c", credentials={"c": {"webhook_url": "https://discord.com/api/webhooks/1/x"}})


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_unsafe_methods_carry_the_idempotency_key(method) -> None:
    assert (await requested(method=method)).headers["idempotency-key"] == "execution:http.request"
    own = await requested(method=method, headers={"idempotency-KEY": "mine"})
    assert own.headers.get_list("idempotency-key") == ["mine"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods_carry_none(method) -> None:
    assert "idempotency-key" not in (await requested(method=method)).headers


async def test_the_output_has_status_headers_in_lower_case_and_body() -> None:
    answer = httpx.Response(201, headers=[("X-Id", "7"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], json={"a": 1})
    async with acting(answers(answer)):
        output = await http.request(url=URL)
    assert (output["status"], output["body"]) == (201, {"a": 1})
    assert output["headers"]["x-id"] == "7"
    assert output["headers"]["set-cookie"] == "a=1, b=2"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (httpx.Response(200, json=[1, "a"]), [1, "a"]),
        (httpx.Response(200, headers={"content-type": "application/vnd.api+json"}, content=b"{}"), {}),
        (httpx.Response(200, text='{"a": 1}'), '{"a": 1}'),
        (httpx.Response(200, headers={"content-type": "text/plain; charset=latin-1"}, content=b"\xfc"), "ü"),
        (httpx.Response(200, headers={"content-type": "text/plain; charset=klingon"}, content=b"ok"), "ok"),
        (httpx.Response(200, headers={"content-type": "image/png"}, content=b"\x89PNG"), {"base64": "iVBORw=="}),
        (httpx.Response(204), None),
        (httpx.Response(200, headers={"content-type": "application/json"}), None),
    ],
)
async def test_the_body_is_json_text_binary_or_nothing(answer, body) -> None:
    assert await body_of(answer) == body


@pytest.mark.parametrize("content", [b"{", b'{"a": NaN}', b"[" * 100_000])
async def test_json_that_is_none_is_the_other_sides_error(content) -> None:
    with pytest.raises(RemoteError, match="malformed JSON"):
        await body_of(httpx.Response(200, headers={"content-type": "application/json"}, content=content))


@pytest.mark.parametrize("status", [400, 404, 418, 500])
async def test_a_status_from_400_on_fails_it_unless_expected(status) -> None:
    with pytest.raises(RemoteError, match=str(status)) as error:
        await requested(method="POST", answer=httpx.Response(status))
    assert error.value.status == status
    async with acting(answers(httpx.Response(status, json={"why": "so"}))):
        output = await http.request(method="POST", url=URL, expect=[status])
    assert (output["status"], output["body"]) == (status, {"why": "so"})


async def test_a_timeout_may_be_written_as_a_duration() -> None:
    request = await requested(timeout="2m")
    assert request.extensions["timeout"]["read"] == 120
