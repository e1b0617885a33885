"""A webhook's `when`: which events start nothing, and what becomes of those it can't decide on."""

from __future__ import annotations

from gateway_under_test import ORDERS, gateway

from connectors.webhooks import build_scheme, sign

OPENED = ORDERS.replace("auth: none", """auth: none, when: "event.body.action == 'opened'" """)


async def test_an_event_that_is_wanted_starts_an_execution():
    async with gateway(OPENED) as under_test:
        assert (await under_test.post({"action": "opened"})).json()["status"] == "accepted"
        assert len(await under_test.executions()) == 1


async def test_one_that_is_not_is_answered_202_and_leaves_nothing_but_a_count():
    async with gateway(OPENED) as under_test:
        answer = await under_test.post({"action": "closed"}, headers={"Idempotency-Key": "7"})
        assert (answer.status_code, answer.json()) == (202, {"status": "ignored"})
        assert await under_test.executions() == []
        assert (await under_test.post({"action": "opened"}, headers={"Idempotency-Key": "7"})).json()["status"] == (
            "accepted"
        )
    assert under_test.counted("ipaas_events_ignored_total", workflow="orders") == 1
    assert under_test.counted("ipaas_events_accepted_total", workflow="orders") == 1


async def test_who_waits_for_the_result_is_told_at_once():
    text = OPENED + "respond: {when: finished}\n"
    async with gateway(text) as under_test:
        assert (await under_test.post({"action": "closed"})).json() == {"status": "ignored"}


async def test_only_who_can_prove_itself_learns_what_is_wanted():
    text = OPENED.replace("auth: none", "auth: {scheme: github, credential: repo}")
    async with gateway(text, credentials={"repo": {"secret": "a-long-s3cret"}}) as under_test:
        assert (await under_test.post({"action": "closed"})).status_code == 401
        body = b'{"action": "closed"}'
        sent = sign(build_scheme("github"), "a-long-s3cret", body, under_test.clock.now())
        answer = await under_test.http.post("/hooks/orders", content=sent.body, headers=sent.headers)
    assert answer.json() == {"status": "ignored"}


async def test_an_event_that_is_not_wanted_need_not_fit_the_input():
    text = OPENED + "input: {required: [order]}\n"
    async with gateway(text) as under_test:
        assert (await under_test.post({"action": "closed"})).json() == {"status": "ignored"}
        assert (await under_test.post({"action": "opened"})).status_code == 422


async def test_an_event_it_can_not_decide_on_is_taken_and_counted(caplog):
    async with gateway(OPENED) as under_test:
        assert (await under_test.post({"zen": "Keep it logically awesome."})).json()["status"] == "accepted"
        assert len(await under_test.executions()) == 1
    assert under_test.counted("ipaas_when_failed_total", workflow="orders") == 1
    assert "workflow orders: when: event.body.action" in caplog.text


async def test_a_large_event_is_decided_on_as_a_small_one():
    async with gateway(OPENED) as under_test:
        answer = await under_test.post({"action": "closed", "text": "x" * 100_000})
    assert answer.json() == {"status": "ignored"}
