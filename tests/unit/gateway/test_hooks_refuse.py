"""What is refused: with which status, counted under which reason, and never stored."""

from __future__ import annotations

import asyncio

import pytest
from gateway_under_test import ORDERS, Gateway, gateway

from connectors.webhooks import build_scheme, sign
from flows.history import MemoryStore
from foundation.errors import StorageUnavailable
from ipaas.gateway import payload

SIGNED = ORDERS.replace("auth: none", "auth: {scheme: stripe, credential: shop}")
CREDENTIALS = {"shop": {"secret": "whsec_s3cret-of-the-shop"}}
SCHEMA = (
    ORDERS
    + """
input:
  type: object
  required: [user]
  properties: {user: {type: object, properties: {age: {type: integer}}}, tags: {type: array, items: {type: string}}}
"""
)


async def refused(under_test: Gateway, answer, status: int, reason: str) -> dict:
    """Asserts what every refusal has in common, and returns the problem document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert under_test.rejected() == {reason: 1}
    assert await under_test.executions() == []
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    return problem


async def test_an_unknown_path_is_404():
    async with gateway() as under_test:
        problem = await refused(under_test, await under_test.post({}, path="/hooks/nowhere"), 404, "unknown_path")
    assert problem["detail"] == "no webhook at /hooks/nowhere"


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "DELETE"])
async def test_a_wrong_method_is_405_and_says_which_are_right(method):
    text = ORDERS.replace("auth: none", "auth: none, methods: [POST, PATCH]")
    async with gateway(text) as under_test:
        answer = await under_test.http.request(method, "/hooks/orders")
        await refused(under_test, answer, 405, "method")
    assert answer.headers["allow"] == "POST, PATCH"


async def test_an_inactive_workflow_is_409():
    async with gateway() as under_test:
        await under_test.store.set_active("orders", False)
        await under_test.app.state.hooks.refresh()
        await refused(under_test, await under_test.post({}), 409, "inactive")


def delivery(under_test: Gateway, secret: str = "whsec_s3cret-of-the-shop", body: bytes = b'{"id": "evt_1"}', **late):
    from datetime import timedelta

    signed = sign(build_scheme("stripe"), secret, body, under_test.clock.now() - timedelta(**late))
    return {"content": signed.body, "headers": [*signed.headers, (b"content-type", b"application/json")]}


async def test_a_genuine_delivery_is_let_in():
    async with gateway(SIGNED, credentials=CREDENTIALS) as under_test:
        answer = await under_test.http.post("/hooks/orders", **delivery(under_test))
    assert answer.status_code == 202


@pytest.mark.parametrize("reason", ["missing", "mismatch", "stale", "malformed"])
async def test_a_delivery_that_is_not_proven_is_401(reason):
    async with gateway(SIGNED, credentials=CREDENTIALS) as under_test:
        sent = {
            "missing": {"content": b'{"id": "evt_1"}'},
            "mismatch": delivery(under_test, secret="whsec_another"),
            "stale": delivery(under_test, hours=1),
            "malformed": {"content": b"{}", "headers": {"Stripe-Signature": "t=soon,v1=xyz"}},
        }[reason]
        answer = await under_test.http.post("/hooks/orders", **sent)
        problem = await refused(under_test, answer, 401, "unverified")
        assert under_test.counted("ipaas_events_unverified_total", workflow="orders", reason=reason) == 1
    assert problem["detail"] == "the delivery could not be verified"


async def test_a_body_is_not_looked_into_before_it_is_verified():
    async with gateway(SIGNED, credentials=CREDENTIALS) as under_test:
        answer = await under_test.http.post(
            "/hooks/orders", content=b"{ no json", headers={"Content-Type": "application/json"}
        )
        await refused(under_test, answer, 401, "unverified")


async def test_a_credential_that_cannot_be_had_is_503():
    async with gateway(SIGNED) as under_test:
        answer = await under_test.http.post("/hooks/orders", **delivery(under_test))
        await refused(under_test, answer, 503, "credential")
    assert answer.headers["retry-after"] == "5"


async def test_a_body_that_says_it_is_too_large_is_413():
    async with gateway(max_body_bytes=10) as under_test:
        await refused(under_test, await under_test.http.post("/hooks/orders", content=b"x" * 11), 413, "too_large")


async def test_a_body_that_turns_out_too_large_is_413():
    async def chunks():
        for _ in range(3):
            yield b"1234"

    async with gateway(max_body_bytes=10) as under_test:
        answer = await under_test.http.post("/hooks/orders", content=chunks())
        assert "content-length" not in answer.request.headers
        await refused(under_test, answer, 413, "too_large")


async def test_a_body_that_does_not_come_is_408(monkeypatch):
    async def never():
        yield b"1"
        await asyncio.Event().wait()

    monkeypatch.setattr(payload, "BODY_SECONDS", 0.05)
    async with gateway() as under_test:
        await refused(under_test, await under_test.http.post("/hooks/orders", content=never()), 408, "slow")


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [
        ("application/json", b"{"),
        ("application/json", b"\xff\xff"),
        ("application/json", b"[NaN]"),
        ("application/json", b"1" * 5000),
        ("application/json", b"[" * 400 + b"]" * 400),
        ("application/json", b"[" * 100_000),
        ("application/x-www-form-urlencoded", b"a=1&" * 10_001),
    ],
)
async def test_a_body_that_is_not_what_it_says_it_is_is_400(content_type, sent):
    async with gateway() as under_test:
        answer = await under_test.http.post("/hooks/orders", content=sent, headers={"Content-Type": content_type})
        await refused(under_test, answer, 400, "malformed")


async def test_a_body_that_does_not_fit_the_input_is_422_with_the_failing_paths():
    async with gateway(SCHEMA) as under_test:
        answer = await under_test.post({"user": {"age": "old"}, "tags": ["a", 2]})
        problem = await refused(under_test, answer, 422, "schema")
    assert {error["path"] for error in problem["errors"]} == {"$.user.age", "$.tags[1]"}


async def test_a_missing_part_is_named():
    async with gateway(SCHEMA) as under_test:
        problem = await refused(under_test, await under_test.post({}), 422, "schema")
    assert problem["errors"] == [{"path": "$", "message": '"user" is a required property'}]


async def test_no_more_than_twenty_faults_are_told():
    async with gateway(SCHEMA) as under_test:
        problem = await refused(under_test, await under_test.post({"user": {}, "tags": [0] * 500}), 422, "schema")
    assert len(problem["errors"]) == 20


class StoreThatIsAway(MemoryStore):
    async def accept(self, new):
        raise StorageUnavailable("the disk is on holiday")


async def test_a_storage_that_does_not_answer_is_503():
    async with gateway(store=StoreThatIsAway()) as under_test:
        answer = await under_test.post({})
        problem = await refused(under_test, answer, 503, "storage")
    assert answer.headers["retry-after"] == "5"
    assert "holiday" not in problem["detail"]


class BrokenStore(MemoryStore):
    async def accept(self, new):
        raise ZeroDivisionError("secret internals")


async def test_a_fault_of_our_own_is_500_and_tells_nothing():
    async with gateway(store=BrokenStore()) as under_test:
        problem = await refused(under_test, await under_test.post({}), 500, "error")
    assert problem["detail"] == "internal error"


async def test_a_gateway_that_stops_takes_no_more():
    async with gateway() as under_test:
        under_test.app.state.intake.stopped = True
        answer = await under_test.post({})
        await refused(under_test, answer, 503, "shutting_down")
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("5", "close")
        api = await under_test.http.get("/api/workflows")
        assert (api.status_code, api.headers["retry-after"]) == (503, "5")
        assert (await under_test.http.get("/readyz")).status_code == 503
        assert (await under_test.http.get("/healthz")).status_code == 200


async def test_the_api_takes_no_endless_body_either():
    async def endless():
        while True:
            yield b"x" * 1000

    async with gateway(max_body_bytes=10_000) as under_test:
        answer = await under_test.http.post("/api/executions/x/cancel", content=endless())
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
