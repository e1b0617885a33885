"""Calls of operations: the request that is sent, what proves who sends it, what the answer becomes."""

from __future__ import annotations

import base64

import httpx
import pytest
from openapi_documents import COMPONENTS, PETSTORE, in_project, petstore, text_of

from blocks.oauth2 import OAuth2
from connectors.kit.testing import acting, answers
from connectors.openapi import call, tokens
from connectors.openapi.faults import CallError, DocumentError
from foundation.errors import CredentialError, RemoteError

TOKEN = {"mine": {"token": "secret-1234"}}


@pytest.fixture(autouse=True)
def project(monkeypatch, tmp_path):
    tokens._tokens.clear()
    project = in_project(monkeypatch, tmp_path)
    (project / "pets.json").write_bytes(petstore())
    return project


async def sent(operation: str, answer: httpx.Response | None = None, credentials=None, **arguments) -> httpx.Request:
    async with acting(answers(answer or httpx.Response(200)), credentials) as stage:
        await call(spec="pets.json", operation=operation, **arguments)
    return stage.requests[-1]


def said(project, security, schemes, **operation) -> None:
    paths = {"/a": {"get": {"operationId": "a", "security": security, **operation}}}
    (project / "pets.json").write_bytes(text_of(paths, components={"securitySchemes": schemes}))


async def test_a_call() -> None:
    parameters = {"limit": "10", "X-Request-Id": 7}
    request = await sent("pets/list", parameters=parameters, headers={"X-More": "1"})
    assert (request.method, str(request.url)) == ("GET", "https://api.example/v1/pets?limit=10")
    assert (request.headers["x-request-id"], request.headers["x-more"]) == ("7", "1")
    assert request.headers["accept"] == "application/json, */*;q=0.8"


async def test_a_body_and_the_idempotency_key() -> None:
    request = await sent("pets/create", body={"name": 5, "age": "3"}, credential="mine", credentials=TOKEN)
    assert (request.method, request.content) == ("POST", b'{"name":"5","age":3}')
    assert request.headers["idempotency-key"] == "execution:openapi.call"
    assert request.headers["authorization"] == "Bearer secret-1234"


async def test_the_output_is_status_headers_and_body() -> None:
    async with acting(answers(httpx.Response(200, json={"id": 1}))):
        output = await call(spec="pets.json", operation="getPetById", parameters={"id": 1})
    assert (output["status"], output["body"]) == (200, {"id": 1})
    assert output["headers"]["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"operation": "getPetById"}, "getPetById needs the parameter 'id'"),
        ({"operation": "getPetById", "parameters": {"ID": 1}}, "no parameter 'ID'; known: id"),
        ({"operation": "getPetById", "parameters": {"id": "x"}}, '`id`: the value is not of type "integer"'),
        (
            {"operation": "pets/list", "parameters": {"limit": 101}},
            "`limit`: the value is greater than the maximum of 100",
        ),
        ({"operation": "pets/list", "body": {}}, "pets/list takes no body"),
        ({"operation": "pets/create"}, "pets/create needs a `body`"),
        ({"operation": "pets/create", "body": {"name": "a", "kind": "cow"}}, "`body`: kind: the value is not one of"),
        ({"operation": "pets/create", "body": {}}, '`body`: "name" is a required property'),
    ],
)
async def test_what_the_operation_does_not_take_is_not_sent(arguments, fault) -> None:
    async with acting(credentials=TOKEN) as stage:
        with pytest.raises(CallError, match=fault):
            await call(spec="pets.json", **arguments)
    assert stage.requests == []


async def test_the_schemas_may_be_left_aside() -> None:
    assert str((await sent("pets/list", parameters={"limit": 101}, check=False)).url).endswith("?limit=101")


async def test_a_document_and_an_operation_that_there_is_not() -> None:
    with pytest.raises(DocumentError, match=r"nix\.json: there is no such file"):
        async with acting():
            await call(spec="nix.json", operation="a")
    with pytest.raises(DocumentError, match="did you mean 'pets/list'"):
        async with acting():
            await call(spec="pets.json", operation="pets/lst")


HEADER = {"type": "apiKey", "in": "header", "name": "X-Key"}
QUERY = {"type": "apiKey", "in": "query", "name": "key"}
COOKIE = {"type": "apiKey", "in": "cookie", "name": "session"}
KEY = {"mine": {"key": "k-12345678"}}
BASIC = {"mine": {"username": "ann", "password": "pass-word"}}


@pytest.mark.parametrize(
    ("scheme", "credentials", "header", "value"),
    [
        (HEADER, KEY, "x-key", "k-12345678"),
        (COOKIE, KEY, "cookie", "session=k-12345678"),
        ({"type": "http", "scheme": "Bearer"}, TOKEN, "authorization", "Bearer secret-1234"),
        ({"type": "oauth2", "flows": {"implicit": {}}}, TOKEN, "authorization", "Bearer secret-1234"),
        ({"type": "openIdConnect"}, TOKEN, "authorization", "Bearer secret-1234"),
        (
            {"type": "http", "scheme": "basic"},
            BASIC,
            "authorization",
            f"Basic {base64.b64encode(b'ann:pass-word').decode()}",
        ),
    ],
)
async def test_each_security_scheme(project, scheme, credentials, header, value) -> None:
    said(project, [{"s": []}], {"s": scheme})
    request = await sent("a", credential="mine", credentials=credentials)
    assert request.headers[header] == value


@pytest.mark.parametrize(
    "scheme", [{"type": "oauth2", "flows": {}}, {"type": "openIdConnect"}, {"type": "http", "scheme": "bearer"}]
)
async def test_an_access_token_that_is_refused_is_renewed_once(project, scheme, monkeypatch) -> None:
    said(project, [{"s": []}], {"s": scheme})

    async def renewed(credential: OAuth2) -> bool:
        credential.use("token-2")
        return True

    monkeypatch.setattr(OAuth2, "renewed", renewed)
    mine = OAuth2(grant="client_credentials", client_id="ours", token_url="https://vendor.example/token")
    async with acting(answers(httpx.Response(401), httpx.Response(200)), {"mine": mine}) as stage:
        await call(spec="pets.json", operation="a", credential="mine")

    carried = [request.headers["authorization"] for request in stage.requests]
    assert carried == ["Bearer access-token-of-mine", "Bearer token-2"]


async def test_a_key_in_the_query(project) -> None:
    said(project, [{"s": []}], {"s": QUERY}, parameters=[{"name": "a", "in": "query"}])
    request = await sent("a", parameters={"a": "1"}, credential="mine", credentials={"mine": {"key": "a&b"}})
    assert str(request.url) == "https://api.example/v1/a?a=1&key=a%26b"


async def test_several_schemes_at_once(project) -> None:
    said(project, [{"one": [], "two": []}], {"one": HEADER, "two": QUERY})
    keys = {"mine": {"keys": ["one=first-key", "two=second-key"]}}
    request = await sent("a", credential="mine", credentials=keys)
    assert (request.headers["x-key"], request.url.params["key"]) == ("first-key", "second-key")
    with pytest.raises(CredentialError, match="a wants one and two: the credential has nothing for it"):
        await sent("a", credential="mine", credentials={"mine": {"keys": ["one=first-key"]}})


async def test_of_several_ways_the_one_that_the_credential_fits(project) -> None:
    said(project, [{"one": []}, {"two": []}], {"one": HEADER, "two": {"type": "http", "scheme": "bearer"}})
    assert (await sent("a", credential="mine", credentials=TOKEN)).headers["authorization"] == "Bearer secret-1234"


async def test_a_credential_is_needed_as_the_document_says(project) -> None:
    said(project, [{"s": []}], {"s": HEADER})
    with pytest.raises(CredentialError, match="a needs `credential`, the name of one of type api-key"):
        await sent("a")
    said(project, [{"s": []}, {}], {"s": HEADER})
    assert "x-key" not in (await sent("a")).headers
    said(project, [], {"s": HEADER})
    with pytest.raises(CredentialError, match="a takes no credential"):
        await sent("a", credential="mine", credentials=KEY)


async def test_a_scheme_that_nobody_knows_is_named(project) -> None:
    said(project, [{"s": []}], {"s": {"type": "mutualTLS"}})
    with pytest.raises(DocumentError, match=r"a needs s \(mutualTLS\): no type of credential is for that"):
        await sent("a", credential="mine", credentials=KEY)


async def test_a_document_without_schemes_takes_what_http_takes() -> None:
    assert (await sent("pets/list", credential="mine", credentials=TOKEN)).headers["authorization"]


CLIENT = {
    "type": "oauth2",
    "flows": {"clientCredentials": {"tokenUrl": "https://login.example/token", "scopes": {"read": ""}}},
}


async def test_a_client_gets_its_token_once(project) -> None:
    said(project, [{"s": ["read"]}], {"s": CLIENT})
    token = httpx.Response(200, json={"access_token": "at-12345678", "expires_in": 3600})
    async with acting(answers(token, httpx.Response(200)), BASIC) as stage:
        await call(spec="pets.json", operation="a", credential="mine")
        await call(spec="pets.json", operation="a", credential="mine")
    asked, *called = stage.requests
    assert (str(asked.url), asked.content) == (
        "https://login.example/token",
        b"grant_type=client_credentials&scope=read",
    )
    assert asked.headers["authorization"].startswith("Basic ")
    assert [one.headers["authorization"] for one in called] == ["Bearer at-12345678"] * 2
    assert stage.services.masker.mask("at-12345678") != "at-12345678"


async def test_a_token_that_is_refused_is_asked_for_anew(project) -> None:
    said(project, [{"s": ["read"]}], {"s": CLIENT})
    token = httpx.Response(200, json={"access_token": "at-12345678"})
    async with acting(answers(token, httpx.Response(401), token, httpx.Response(200)), BASIC) as stage:
        with pytest.raises(RemoteError, match="401"):
            await call(spec="pets.json", operation="a", credential="mine")
        await call(spec="pets.json", operation="a", credential="mine")
    assert [one.url.host for one in stage.requests] == ["login.example", "api.example"] * 2


async def test_a_client_that_is_refused(project) -> None:
    said(project, [{"s": []}], {"s": CLIENT})
    refusal = httpx.Response(401, json={"error": "invalid_client", "echo": "pass-word"})
    with pytest.raises(
        CredentialError, match=r"credential 'mine' gets no access token: .* 401: invalid_client"
    ) as error:
        await sent("a", refusal, credential="mine", credentials=BASIC)
    assert "pass-word" not in str(error.value)


async def test_the_server_and_its_variables(project) -> None:
    server = {
        "url": "https://{shop}.example/{base}",
        "variables": {"shop": {"default": "demo", "enum": ["demo", "acme"]}, "base": {"default": "v1"}},
    }
    (project / "pets.json").write_bytes(text_of(PETSTORE, components=COMPONENTS, servers=[server]))
    assert str((await sent("pets/list")).url) == "https://demo.example/v1/pets"
    assert (await sent("pets/list", variables={"shop": "acme", "base": "a/b"})).url.raw_path == b"/a/b/pets"
    for variables, fault in (({"shop": "evil"}, "must be one of demo, acme"), ({"base": "../x"}, "has a character")):
        with pytest.raises(CallError, match=fault):
            await sent("pets/list", variables=variables)
    assert (await sent("pets/list", server="http://127.0.0.1:9")).url.host == "127.0.0.1"


async def test_a_variable_can_not_leave_the_host(project) -> None:
    server = {"url": "https://{shop}.example", "variables": {"shop": {"default": "demo"}}}
    (project / "pets.json").write_bytes(text_of(PETSTORE, components=COMPONENTS, servers=[server]))
    with pytest.raises(CallError, match="the server's variable 'shop' has a character that no address has there"):
        await sent("pets/list", variables={"shop": "evil.com/"})


async def test_a_document_that_does_not_say_where(project) -> None:
    (project / "pets.json").write_bytes(text_of(PETSTORE, components=COMPONENTS, servers=[{"url": "/v1"}]))
    with pytest.raises(DocumentError, match=r"pets\.json does not say where the API is: set `server`"):
        await sent("pets/list")


async def test_the_operators_address_stands_for_the_servers() -> None:
    async with acting(base_urls={"openapi": "http://127.0.0.1:9"}) as stage:
        await call(spec="pets.json", operation="pets/list")
    assert str(stage.requests[0].url) == "http://127.0.0.1:9/v1/pets"


async def test_page_after_page() -> None:
    first = httpx.Response(200, json=[{"id": 1}], headers={"Link": '</v1/pets?after=1>; rel="next"'})
    async with acting(answers(first, httpx.Response(200, json=[{"id": 2}]))) as stage:
        output = await call(spec="pets.json", operation="pets/list", paginate={"style": "link_header"})
    assert output["body"] == [{"id": 1}, {"id": 2}]
    assert [str(one.url) for one in stage.requests] == [
        "https://api.example/v1/pets",
        "https://api.example/v1/pets?after=1",
    ]


async def test_pages_by_a_cursor_beside_the_operations_parameters() -> None:
    pages = [httpx.Response(200, json={"data": [n], "next": more}) for n, more in ((1, "b"), (2, None))]
    paginate = {"style": "cursor", "parameter": "after", "found_at": "next", "items": "data"}
    async with acting(answers(*pages)) as stage:
        output = await call(spec="pets.json", operation="pets/list", parameters={"limit": 1}, paginate=paginate)
    assert output["body"] == [1, 2]
    assert stage.requests[1].url.query == b"limit=1&after=b"


async def test_a_next_page_elsewhere_is_not_asked_for() -> None:
    answer = httpx.Response(200, json=[1], headers={"Link": '<https://evil.example/>; rel="next"'})
    with pytest.raises(RemoteError, match="next page on another host"):
        await sent("pets/list", answer, paginate={"style": "link_header"})


@pytest.mark.parametrize(
    ("paginate", "fault"),
    [
        ({"style": "links"}, "`paginate.style` must be one of link_header"),
        ({"style": "cursor", "paramter": "a"}, "cursor has no option 'paramter'; did you mean 'parameter'"),
        ({"style": "cursor"}, "`paginate`: cursor: .*missing.*'parameter'"),
    ],
)
async def test_paging_that_is_wrong(paginate, fault) -> None:
    with pytest.raises(CallError, match=fault):
        await sent("pets/list", paginate=paginate)


async def test_what_may_be_repeated_is_repeated_by_its_method() -> None:
    async with acting(answers(httpx.Response(503), httpx.Response(200)), TOKEN) as stage:
        await call(spec="pets.json", operation="pets/list")
        assert len(stage.requests) == 2
    async with acting(answers(httpx.Response(503), httpx.Response(200)), TOKEN) as stage:
        with pytest.raises(RemoteError, match="503"):
            await call(spec="pets.json", operation="pets/create", body={"name": "a"}, credential="mine")
        assert len(stage.requests) == 1
