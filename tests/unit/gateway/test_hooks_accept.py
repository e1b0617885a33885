"""What is accepted, and what is stored of it."""

from __future__ import annotations

import re

import pytest
from gateway_under_test import ORDERS, SENDER, gateway

from connectors.webhooks import build_scheme, sign
from ipaas.gateway import hooks

UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


async def test_an_event_is_answered_202_once_it_is_stored():
    async with gateway() as under_test:
        answer = await under_test.post({"amount": 12})
        [execution] = await under_test.executions()
    assert answer.status_code == 202
    assert re.fullmatch(UUID7, execution.id)
    assert answer.json() == {
        "execution_id": execution.id,
        "status": "accepted",
        "status_url": f"http://gateway.test/api/executions/{execution.id}",
    }
    assert (execution.workflow, execution.trigger, execution.status) == ("orders", "webhook", "accepted")
    assert under_test.counted("ipaas_events_accepted_total", workflow="orders") == 1
    assert under_test.counted("ipaas_accept_seconds_count") == 1


async def test_the_status_url_is_under_the_public_url():
    async with gateway(public_url="https://hooks.example.com/") as under_test:
        answer = (await under_test.post({})).json()
    assert answer["status_url"] == f"https://hooks.example.com/api/executions/{answer['execution_id']}"


async def test_the_event_is_what_was_sent():
    async with gateway() as under_test:
        await under_test.post({"a": 1}, path="/hooks/orders?x=1&y=a&y=b", headers={"X-Kind": "new"})
        [execution] = await under_test.executions()
    event = execution.event
    assert event["body"] == {"a": 1}
    assert event["query"] == {"x": "1", "y": ["a", "b"]}
    assert (event["method"], event["path"]) == ("POST", "/hooks/orders")
    assert event["headers"]["x-kind"] == "new"
    assert event["received_at"] == "2026-01-01T00:00:00Z"
    assert re.fullmatch(UUID7, event["id"])


async def test_a_header_sent_twice_is_joined():
    async with gateway() as under_test:
        await under_test.http.post("/hooks/orders", headers=[("X-Tag", "a"), ("X-Tag", "b")])
        [execution] = await under_test.executions()
    assert execution.event["headers"]["x-tag"] == "a, b"


@pytest.mark.parametrize(
    ("content_type", "sent", "body"),
    [
        ("application/json", b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("application/json; charset=utf-8", '\ufeff"Gr\u00fc\u00dfe"'.encode(), "Gr\u00fc\u00dfe"),
        ("application/vnd.api+json", b"[]", []),
        ("application/x-www-form-urlencoded", b"a=1&b=&a=2", {"a": ["1", "2"], "b": ""}),
        ("text/plain", "Gr\u00fc\u00dfe".encode(), "Gr\u00fc\u00dfe"),
        ("text/plain", b"\xff\xfe", "//4="),
        ("application/xml", b"<a/>", "<a/>"),
        ("application/octet-stream", b"\x00\x01", "AAE="),
        ("", b'{"a": 1}', {"a": 1}),
        ("", b"not json", "not json"),
        ("application/json", b"", None),
        ("application/json", b'"\\ud800"', "\ud800"),
    ],
)
async def test_a_body_is_understood_as_what_it_says_it_is(content_type, sent, body):
    async with gateway() as under_test:
        answer = await under_test.http.post("/hooks/orders", content=sent, headers={"Content-Type": content_type})
        assert answer.status_code == 202
        [execution] = await under_test.executions()
    assert execution.event["body"] == body


async def test_what_authenticates_a_sender_is_not_stored():
    secret = {"Authorization": "Basic c2VjcmV0", "Cookie": "session=secret", "Proxy-Authorization": "Basic secret"}
    async with gateway() as under_test:
        await under_test.post({}, headers=secret)
        [execution] = await under_test.executions()
    assert not {"authorization", "cookie", "proxy-authorization"} & execution.event["headers"].keys()


async def test_a_schemes_secret_header_is_not_stored():
    text = ORDERS.replace("auth: none", "auth: {scheme: api-key, credential: shop}")
    async with gateway(text, credentials={"shop": {"key": "s3cret-key"}}) as under_test:
        answer = await under_test.post({}, headers={"X-API-Key": "s3cret-key"})
        [execution] = await under_test.executions()
    assert answer.status_code == 202
    assert "s3cret-key" not in str(execution.event)


async def test_a_workflow_may_take_other_methods():
    text = ORDERS.replace("auth: none", "auth: none, methods: [GET, DELETE]")
    async with gateway(text) as under_test:
        assert (await under_test.http.get("/hooks/orders?a=1")).status_code == 202
        assert (await under_test.http.delete("/hooks/orders")).status_code == 202
        assert [execution.event["method"] for execution in await under_test.executions()] == ["GET", "DELETE"]


async def test_a_handshake_is_answered_and_not_stored():
    text = ORDERS.replace("auth: none", "auth: {scheme: slack, credential: team}")
    async with gateway(text, credentials={"team": {"secret": "s3cret-of-slack"}}) as under_test:
        greeting = b'{"type": "url_verification", "challenge": "3eZbrw"}'
        sent = sign(build_scheme("slack"), "s3cret-of-slack", greeting, under_test.clock.now())
        answer = await under_test.http.post("/hooks/orders", content=sent.body, headers=sent.headers)
        assert await under_test.executions() == []
    assert (answer.status_code, answer.text) == (200, '{"challenge": "3eZbrw"}')
    assert under_test.counted("ipaas_handshakes_total", workflow="orders") == 1


async def test_a_deploy_takes_effect_while_the_gateway_runs():
    async with gateway() as under_test:
        assert (await under_test.post({}, path="/hooks/later")).status_code == 404
        await under_test.publish(ORDERS.replace("name: orders", "name: later"))
        assert (await under_test.post({}, path="/hooks/later")).status_code == 202


async def test_every_answer_carries_a_request_id():
    async with gateway() as under_test:
        made = (await under_test.post({})).headers["x-request-id"]
        kept = (await under_test.post({}, headers={"X-Request-Id": "call-7"})).headers["x-request-id"]
        refused = (await under_test.post({}, headers={"X-Request-Id": "a b\x01"})).headers["x-request-id"]
        elsewhere = (await under_test.http.get("/healthz", headers={"X-Request-Id": "call-8"})).headers["x-request-id"]
    assert re.fullmatch(UUID7, made)
    assert (kept, elsewhere) == ("call-7", "call-8")
    assert re.fullmatch(UUID7, refused)


async def test_the_sender_is_known_by_its_address():
    async with gateway(rate_limit_per_sender="1/hour") as under_test:
        assert (await under_test.post({})).status_code == 202
        refused = await under_test.post({})
    assert refused.status_code == 429
    assert SENDER not in refused.text


async def test_what_was_deployed_a_moment_ago_is_found(monkeypatch):
    async with gateway() as under_test:
        await under_test.publish(ORDERS.replace("orders", "newest"), is_known=False)
        monkeypatch.setattr(hooks, "LOOK_AGAIN_SECONDS", 0.0)
        answer = await under_test.http.post("/hooks/newest", json={})
    assert answer.status_code == 202


async def test_who_asks_for_what_is_not_there_does_not_have_the_table_read_each_time(monkeypatch):
    async with gateway() as under_test:
        monkeypatch.setattr(hooks, "LOOK_AGAIN_SECONDS", 3600.0)
        await under_test.publish(ORDERS.replace("orders", "newest"), is_known=False)
        answer = await under_test.http.post("/hooks/newest", json={})
    assert answer.status_code == 404
