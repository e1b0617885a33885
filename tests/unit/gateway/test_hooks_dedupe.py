"""Which deliveries are the same one."""

from __future__ import annotations

import pytest
from gateway_under_test import ORDERS, gateway

from connectors.webhooks import build_scheme, sign

DEDUPED = ORDERS.replace("auth: none", """auth: none, dedupe: "{{ event.headers['x-id'] | default(none) }}" """)
GITHUB = ORDERS.replace("auth: none", "auth: {scheme: github, credential: repo}")
HMAC = ORDERS.replace("auth: none", "auth: {scheme: hmac, credential: repo, header: X-Signature}")
CREDENTIALS = {"repo": {"secret": "a-long-s3cret"}}


async def test_the_same_delivery_again_is_a_duplicate():
    async with gateway(DEDUPED) as under_test:
        first = (await under_test.post({"a": 1}, headers={"X-Id": "7"})).json()
        again = await under_test.post({"a": 2}, headers={"X-Id": "7"})
        other = (await under_test.post({"a": 1}, headers={"X-Id": "8"})).json()
        assert len(await under_test.executions()) == 2
    assert again.status_code == 202
    assert again.json() == first | {"status": "duplicate"}
    assert other["status"] == "accepted"
    assert under_test.counted("ipaas_events_duplicate_total", workflow="orders") == 1
    assert under_test.counted("ipaas_events_accepted_total", workflow="orders") == 2


async def test_a_delivery_is_forgotten_after_its_time():
    async with gateway(DEDUPED, dedupe_days=7) as under_test:
        await under_test.post({}, headers={"X-Id": "7"})
        under_test.clock.move(days=7, seconds=1)
        assert (await under_test.post({}, headers={"X-Id": "7"})).json()["status"] == "accepted"


async def test_without_an_identity_equal_bodies_are_two_deliveries():
    async with gateway() as under_test:
        assert [(await under_test.post({"a": 1})).json()["status"] for _ in range(2)] == ["accepted", "accepted"]


async def test_an_idempotency_key_is_an_identity():
    async with gateway() as under_test:
        keys = ["k1", "k1", "k2", "k" * 5000, "k" * 5000]
        answers = [await under_test.post({}, headers={"Idempotency-Key": key}) for key in keys]
    told = [answer.json()["status"] for answer in answers]
    assert told == ["accepted", "duplicate", "accepted", "accepted", "duplicate"]


@pytest.mark.parametrize("expression", ["{{ event.headers['x-id'] | default(none) }}", "{{ event.body.nothing }}"])
async def test_a_dedupe_that_comes_out_empty_counts_as_none_and_is_counted(expression):
    text = ORDERS.replace("auth: none", f'auth: none, dedupe: "{expression}"')
    async with gateway(text) as under_test:
        for _ in range(2):
            assert (await under_test.post({})).json()["status"] == "accepted"
        assert under_test.counted("ipaas_dedupe_empty_total", workflow="orders") == 2
        for expected in ("accepted", "duplicate"):
            assert (await under_test.post({}, headers={"Idempotency-Key": "k"})).json()["status"] == expected


def signed(name: str, body: bytes, now, delivery_id: str | None = None, **options) -> dict:
    given = sign(build_scheme(name, options), "a-long-s3cret", body, now, delivery_id=delivery_id)
    return {"content": given.body, "headers": given.headers}


async def test_the_schemes_delivery_id_is_the_identity():
    async with gateway(GITHUB, credentials=CREDENTIALS) as under_test:
        now = under_test.clock.now()
        sent = [
            signed("github", b"{}", now, "d-1"),
            signed("github", b'{"a":1}', now, "d-1"),
            signed("github", b'{"a":2}', now, "d-2"),
        ]
        told = [(await under_test.http.post("/hooks/orders", **one)).json()["status"] for one in sent]
    assert told == ["accepted", "duplicate", "accepted"]


async def test_an_empty_dedupe_leaves_the_schemes_delivery_id():
    text = GITHUB.replace(
        "credential: repo}", """credential: repo}, dedupe: "{{ event.body.nothing | default('') }}" """
    )
    async with gateway(text, credentials=CREDENTIALS) as under_test:
        sent = signed("github", b"{}", under_test.clock.now(), "d-1")
        told = [(await under_test.http.post("/hooks/orders", **sent)).json()["status"] for _ in range(2)]
    assert told == ["accepted", "duplicate"]


async def test_a_signed_delivery_without_an_id_is_known_by_signature_and_body():
    async with gateway(HMAC, credentials=CREDENTIALS) as under_test:
        now = under_test.clock.now()
        sent = [signed("hmac", body, now, header="X-Signature") for body in (b"1", b"1", b"2")]
        told = [(await under_test.http.post("/hooks/orders", **one)).json()["status"] for one in sent]
    assert told == ["accepted", "duplicate", "accepted"]


async def test_two_hooks_do_not_share_identities():
    other = ORDERS.replace("name: orders", "name: others")
    async with gateway(ORDERS, other) as under_test:
        for path in ("/hooks/orders", "/hooks/others"):
            answer = await under_test.post({}, path=path, headers={"Idempotency-Key": "k"})
            assert answer.json()["status"] == "accepted"
