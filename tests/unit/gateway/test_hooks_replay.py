"""A captured delivery, sent again with another id, header, spelling or to another hook: nothing runs twice."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from gateway_under_test import ORDERS, Gateway, gateway

from connectors.webhooks import Delivery, build_scheme, sign

SECRETS = {"repo": {"secret": "a-long-s3cret"}, "other": {"secret": "a-long-s3cret"}}
"""Two credentials with one secret: what counts is which of them a hook names."""


def workflow(scheme: str, name: str = "orders", credential: str = "repo", dedupe: str = "", **options: str) -> str:
    written = "".join(f", {key}: {json.dumps(value)}" for key, value in options.items())
    more = f", dedupe: {json.dumps(dedupe)}" if dedupe else ""
    auth = f"auth: {{scheme: {scheme}, credential: {credential}{written}}}{more}"
    return ORDERS.replace("name: orders", f"name: {name}").replace("auth: none", auth)


def signed(under_test: Gateway, scheme: str, body: Any, delivery_id: str | None = None, **options: str) -> Delivery:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = "http://gateway.test/hooks/orders"
    form = {"Content-Type": "application/x-www-form-urlencoded"} if scheme == "twilio" else None
    given = build_scheme(scheme, options)
    return sign(given, "a-long-s3cret", content, under_test.clock.now(), url=url, headers=form, delivery_id=delivery_id)


async def told(
    under_test: Gateway, sent: Delivery, path: str = "/hooks/orders", body: bytes | None = None, **headers: str
) -> str:
    """What became of it."""
    changed = {name.lower().replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    kept = [(name, value) for name, value in sent.headers if name.lower() not in changed]
    content = sent.body if body is None else body
    answer = await under_test.http.post(path, content=content, headers=[*kept, *changed.items()])
    assert answer.status_code == 202, answer.text
    status: str = answer.json()["status"]
    return status


@pytest.mark.parametrize(
    ("scheme", "id_header"),
    [
        ("github", "X_GitHub_Delivery"),
        ("shopify", "X_Shopify_Webhook_Id"),
        ("linear", "Linear_Delivery"),
        ("zendesk", "X_Zendesk_Webhook_Invocation_Id"),
        ("lemonsqueezy", "X_Any"),
        ("calendly", "X_Any"),
        ("zoom", "X_Any"),
    ],
)
async def test_another_id_beside_the_same_signed_content_is_the_same_delivery(scheme: str, id_header: str):
    async with gateway(workflow(scheme), credentials=SECRETS) as under_test:
        sent = signed(under_test, scheme, {"n": 1})
        assert await told(under_test, sent) == "accepted"
        for changed in (
            {},
            {id_header: "another"},
            {"Idempotency_Key": "k1"},
            {id_header: "x", "Idempotency_Key": "k2"},
        ):
            assert await told(under_test, sent, **changed) == "duplicate"
        assert await told(under_test, signed(under_test, scheme, {"n": 2})) == "accepted"


async def test_the_same_id_with_other_content_is_the_same_delivery_as_ever():
    async with gateway(workflow("github"), credentials=SECRETS) as under_test:
        assert await told(under_test, signed(under_test, "github", {"n": 1}, "d-1")) == "accepted"
        assert await told(under_test, signed(under_test, "github", {"n": 2}, "d-1")) == "duplicate"


async def test_a_sender_that_means_equal_bodies_is_allowed_to_repeat_them():
    async with gateway(workflow("github", replay="allow"), credentials=SECRETS) as under_test:
        for delivery_id, status in (("d-1", "accepted"), ("d-2", "accepted"), ("d-1", "duplicate")):
            assert await told(under_test, signed(under_test, "github", {"n": 1}, delivery_id)) == status


async def test_a_senders_own_id_that_it_signs_is_enough():
    """Stripe's id is in the signed body, so a delivery has one key; the same for a second event with equal data."""
    async with gateway(workflow("stripe"), credentials=SECRETS) as under_test:
        first = signed(under_test, "stripe", {"id": "evt_1", "n": 1})
        assert await told(under_test, first) == "accepted"
        assert await told(under_test, first, Idempotency_Key="k") == "duplicate"
        under_test.clock.move(seconds=10)
        retried = signed(under_test, "stripe", {"id": "evt_1", "n": 1})
        assert await told(under_test, retried) == "duplicate"
        assert await told(under_test, signed(under_test, "stripe", {"id": "evt_2", "n": 1})) == "accepted"


async def test_an_idempotency_key_tells_nothing_where_the_sender_signs():
    """Whoever sends again could set it: neither to pass for new, nor to make a genuine delivery pass for known."""
    async with gateway(workflow("lemonsqueezy"), credentials=SECRETS) as under_test:
        for n in (1, 2):
            assert (
                await told(under_test, signed(under_test, "lemonsqueezy", {"n": n}), Idempotency_Key="k") == "accepted"
            )


@pytest.mark.parametrize("auth", ["none", "{scheme: api-key, credential: key}"])
async def test_an_idempotency_key_counts_where_nothing_is_signed(auth: str):
    credentials = {"key": {"key": "a-long-k3y"}}
    async with gateway(ORDERS.replace("auth: none", f"auth: {auth}"), credentials=credentials) as under_test:
        headers = {"X-API-Key": "a-long-k3y", "Idempotency-Key": "k"}
        statuses = [(await under_test.post({"n": n}, headers=headers)).json()["status"] for n in (1, 2)]
        assert statuses == ["accepted", "duplicate"]
        headers["Idempotency-Key"] = "another"
        assert (await under_test.post({"n": 1}, headers=headers)).json()["status"] == "accepted"


@pytest.mark.parametrize("scheme", ["github", "stripe"])
async def test_a_dedupe_of_the_workflows_own_does_not_open_the_door_to_replays(scheme: str):
    """This one looks at a header, which no signature covers."""
    own = "{{ event.headers['x-attempt'] | default(none) }}"
    async with gateway(workflow(scheme, dedupe=own), credentials=SECRETS) as under_test:
        sent = signed(under_test, scheme, {"id": "e1"}, "d-1" if scheme == "github" else None)
        assert await told(under_test, sent, X_Attempt="1") == "accepted"
        assert await told(under_test, sent, X_Attempt="2") == "duplicate"
        other = signed(under_test, scheme, {"id": "e2"}, "d-2" if scheme == "github" else None)
        assert await told(under_test, other, X_Attempt="1") == "duplicate"
        assert await told(under_test, other, X_Attempt="3") == "accepted"


async def test_a_form_that_is_spelled_otherwise_is_the_same_delivery():
    async with gateway(workflow("twilio"), credentials=SECRETS, public_url="http://gateway.test") as under_test:
        sent = signed(under_test, "twilio", b"Body=Hello+you&From=1")
        assert await told(under_test, sent) == "accepted"
        for spelled in (b"Body=Hello%20you&From=1", b"From=1&Body=Hello+you", b"%42ody=Hello+you&From=1"):
            assert await told(under_test, sent, body=spelled) == "duplicate"


def with_data(sent: Delivery, data: Any) -> bytes:
    """Mailgun does not sign its data."""
    return json.dumps({**json.loads(sent.body), "event-data": data}).encode()


@pytest.mark.parametrize("replay", ["refuse", "allow"])
@pytest.mark.parametrize(
    "dedupe", ["", "{{ event.body['event-data'] }}", "{{ event.headers['x-any'] | default(none) }}"]
)
async def test_mailguns_token_is_spent_once_whatever_comes_with_it(dedupe: str, replay: str):
    text = workflow("mailgun", dedupe=dedupe, replay=replay)
    async with gateway(text, credentials=SECRETS) as under_test:
        sent = signed(under_test, "mailgun", {"event-data": "opened"})
        assert await told(under_test, sent) == "accepted"
        assert await told(under_test, sent, body=with_data(sent, "unsubscribed"), X_Any="1") == "duplicate"
        assert await told(under_test, signed(under_test, "mailgun", {"event-data": "clicked"})) == "accepted"


async def test_mailguns_token_is_spent_for_all_hooks_of_its_credential():
    hooks = [
        workflow("mailgun"),
        workflow("mailgun", "second", dedupe="{{ event.body['event-data'] }}"),
        workflow("mailgun", "elsewhere", credential="other"),
    ]
    async with gateway(*hooks, credentials=SECRETS) as under_test:
        sent = signed(under_test, "mailgun", {"event-data": "opened"})
        assert await told(under_test, sent) == "accepted"
        assert await told(under_test, sent, "/hooks/second", with_data(sent, "forged")) == "duplicate"
        assert await told(under_test, sent, "/hooks/elsewhere") == "accepted"


async def test_a_mailgun_token_that_was_never_spent_is_good_for_minutes_only():
    async with gateway(workflow("mailgun"), credentials=SECRETS) as under_test:
        sent = signed(under_test, "mailgun", {"event-data": "opened"})
        under_test.clock.move(seconds=301)
        answer = await under_test.http.post("/hooks/orders", content=sent.body)
        assert (answer.status_code, await under_test.executions()) == (401, [])


async def test_a_refused_delivery_makes_no_later_one_a_duplicate():
    async with gateway(workflow("github"), credentials=SECRETS) as under_test:
        forged = sign(build_scheme("github"), "guessed", b'{"n": 1}', under_test.clock.now(), delivery_id="d-1")
        assert (
            await under_test.http.post("/hooks/orders", content=forged.body, headers=forged.headers)
        ).status_code == 401
        assert await told(under_test, signed(under_test, "github", {"n": 1}, "d-1")) == "accepted"


@pytest.mark.parametrize(
    "scheme",
    [
        "github",
        "stripe",
        "slack",
        "shopify",
        "linear",
        "zendesk",
        "typeform",
        "calendly",
        "paddle",
        "mailgun",
        "twilio",
    ],
)
async def test_what_proves_the_sender_is_not_stored(scheme: str):
    async with gateway(workflow(scheme), credentials=SECRETS, public_url="http://gateway.test") as under_test:
        body = b"From=1" if scheme == "twilio" else b'{"id": "1"}'
        sent = signed(under_test, scheme, body)
        place = build_scheme(scheme).signature
        kind, _, name = place.partition(":")
        proof = sent.header(name) if kind == "header" else json.loads(sent.body)["signature"]["signature"].encode()
        assert proof
        assert await told(under_test, sent) == "accepted"
        [execution] = await under_test.executions()
    signature = proof.decode().rstrip("=").rpartition("=")[2]
    assert len(signature) > 20
    assert signature not in json.dumps(execution.event)


async def test_a_signature_in_the_url_is_not_stored_either():
    options = {"signature": "query:sig", "signed": "{raw}"}
    async with gateway(workflow("custom", **options), credentials=SECRETS) as under_test:
        sent = signed(under_test, "custom", {"n": 1}, **options)
        query = sent.url.partition("?")[2]
        assert await told(under_test, sent, f"/hooks/orders?{query}&kept={quote('ä')}") == "accepted"
        [execution] = await under_test.executions()
    assert execution.event["query"] == {"kept": "ä"}
