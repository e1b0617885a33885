"""What is asked to come later, and how it is told."""

from __future__ import annotations

import logging

import pytest
from gateway_under_test import ORDERS, gateway

from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.gateway.rates import Rates
from ipaas.logs import SparseLog

OTHERS = ORDERS.replace("name: orders", "name: others")


async def test_a_full_backlog_is_429():
    async with gateway(ORDERS, OTHERS, backlog=2) as under_test:
        for _ in range(2):
            assert (await under_test.post({})).status_code == 202
        refused = await under_test.post({}, path="/hooks/others")
        assert len(await under_test.executions()) == 2
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert refused.json()["detail"] == "2 executions are waiting already"
    assert under_test.rejected() == {"backlog": 1}


async def test_a_workflows_own_backlog_leaves_the_others_alone():
    async with gateway(ORDERS, OTHERS, workflow_backlog=1) as under_test:
        assert (await under_test.post({})).status_code == 202
        refused = await under_test.post({})
        assert (await under_test.post({}, path="/hooks/others")).status_code == 202
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert under_test.rejected() == {"workflow_backlog": 1}


async def test_what_has_begun_waits_no_more():
    async with gateway(backlog=1) as under_test:
        first = (await under_test.post({})).json()["execution_id"]
        assert (await under_test.post({})).status_code == 429
        await under_test.end(first)
        await under_test.app.state.backlog.count()
        assert (await under_test.post({})).status_code == 202


async def test_a_backlog_from_before_a_restart_counts():
    async with gateway(backlog=1) as before:
        await before.post({})
    async with gateway(store=before.store, backlog=1) as under_test:
        await under_test.app.state.backlog.count()
        assert (await under_test.post({})).status_code == 429


async def test_a_sender_over_its_rate_is_429_and_others_are_not():
    async with gateway(rate_limit_per_sender="2/hour") as under_test:
        statuses = [(await under_test.post({})).status_code for _ in range(3)]
        refused = await under_test.post({})
        under_test.http._transport.client = ("192.0.2.99", 1)  # type: ignore[attr-defined]  # another address
        other = await under_test.post({})
    assert statuses == [202, 202, 429]
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert other.status_code == 202
    assert under_test.rejected() == {"sender_rate": 2}


async def test_a_workflow_over_its_rate_is_429_and_others_are_not():
    async with gateway(ORDERS, OTHERS, rate_limit_per_workflow="1/hour") as under_test:
        assert (await under_test.post({})).status_code == 202
        refused = await under_test.post({})
        assert (await under_test.post({}, path="/hooks/others")).status_code == 202
    assert refused.json()["detail"] == "workflow orders gets more than 1 per 1 hour"
    assert under_test.rejected() == {"workflow_rate": 1}


async def test_what_is_not_verified_does_not_count_against_the_workflow():
    text = ORDERS.replace("auth: none", "auth: {scheme: api-key, credential: shop}")
    credentials = {"shop": {"key": "s3cret-key"}}
    async with gateway(text, credentials=credentials, rate_limit_per_workflow="1/hour") as under_test:
        for _ in range(3):
            assert (await under_test.post({}, headers={"X-API-Key": "wrong"})).status_code == 401
        assert (await under_test.post({}, headers={"X-API-Key": "s3cret-key"})).status_code == 202


async def test_rates_whose_storage_is_away_let_everything_pass():
    storage = "redis://127.0.0.1:9"
    async with gateway(rate_limit_per_sender="1/hour", rate_limit_storage=storage) as under_test:
        assert [(await under_test.post({})).status_code for _ in range(2)] == [202, 202]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("rate_limit_per_sender", "fast"), ("rate_limit_per_workflow", "1/fortnight"), ("rate_limit_storage", "ftp://x")],
)
def test_a_rate_that_cannot_be_understood_names_its_variable(setting, value):
    given = {"rate_limit_per_sender": "1/second"} | {setting: value}
    with pytest.raises(ConfigurationError, match=f"IPAAS_{setting.upper()}"):
        Rates(Settings(_env_file=None, **given))  # type: ignore[call-arg]


def test_warnings_that_senders_cause_are_written_once_a_second(caplog):
    now = [0.0]
    seldom = SparseLog(logging.getLogger("test.seldom"), lambda: now[0])
    for _ in range(5):
        seldom.warning("refused %s", "x")
    now[0] = 1.0
    seldom.warning("refused %s", "y")
    assert caplog.messages == ["refused x", "refused y (and 4 more like this since the last line)"]
