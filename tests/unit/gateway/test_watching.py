"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio

from gateway_under_test import ORDERS, Gateway, gateway

from blocks.token_state import TokenFailure
from flows.history import MemoryStore, Status
from foundation.errors import StorageUnavailable

OTHERS = ORDERS.replace("name: orders", "name: others")


async def scrape(under_test: Gateway) -> dict[str, float]:
    """The metrics' lines: name with labels → value."""
    answer = await under_test.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = (line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


class StoreThatIsAway(MemoryStore):
    away = False

    async def ping(self):
        if self.away:
            raise StorageUnavailable("the disk is on holiday")

    async def backlog(self):
        await self.ping()
        return await super().backlog()


async def test_without_its_database_too_it_is_live_and_not_ready():
    store = StoreThatIsAway()
    async with gateway(store=store) as under_test:
        store.away = True
        live, ready = await under_test.http.get("/healthz"), await under_test.http.get("/readyz")
    assert live.status_code == 200
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "5")
    assert (
        ready.json()["detail"] == "database does not answer: StorageUnavailable; Prefect does not answer: ConnectError"
    )


async def test_without_prefect_it_is_live_and_not_ready_and_still_accepts():
    async with gateway() as under_test:
        live, ready = await under_test.http.get("/healthz"), await under_test.http.get("/readyz")
        assert (await under_test.post({})).status_code == 202
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert ready.status_code == 503
    assert ready.json()["detail"] == "Prefect does not answer: ConnectError"


async def test_the_backlog_is_told_by_workflow_with_the_age_of_its_oldest():
    async with gateway(ORDERS, OTHERS) as under_test:
        first = (await under_test.post({})).json()["execution_id"]
        under_test.clock.move(seconds=10)
        await under_test.post({})
        await under_test.post({}, path="/hooks/others")
        under_test.clock.move(seconds=20)
        before = await scrape(under_test)
        await under_test.end(first, Status.FAILED)
        under_test.clock.move(seconds=30)
        after = await scrape(under_test)
    assert before['ipaas_backlog{workflow="orders"}'] == 2
    assert before['ipaas_backlog{workflow="others"}'] == 1
    assert before["ipaas_backlog_oldest_seconds"] == 30
    assert before['ipaas_executions{status="accepted"}'] == 3
    assert after['ipaas_backlog{workflow="orders"}'] == 1
    assert after["ipaas_backlog_oldest_seconds"] == 50
    assert after['ipaas_executions{status="accepted"}'] == 2
    assert 'ipaas_executions{status="failed"}' not in after  # counting what ended takes ever longer


async def test_a_workflow_without_a_backlog_is_told_no_more():
    async with gateway() as under_test:
        execution = (await under_test.post({})).json()["execution_id"]
        await scrape(under_test)
        await under_test.end(execution)
        under_test.clock.move(minutes=1)
        told = await scrape(under_test)
    assert 'ipaas_backlog{workflow="orders"}' not in told
    assert told["ipaas_backlog_oldest_seconds"] == 0


async def test_however_often_it_is_scraped_the_history_is_read_every_few_seconds():
    async with gateway() as under_test:
        assert 'ipaas_backlog{workflow="orders"}' not in await scrape(under_test)
        await under_test.post({})
        assert 'ipaas_backlog{workflow="orders"}' not in await scrape(under_test)
        under_test.clock.move(seconds=5)
        assert (await scrape(under_test))['ipaas_backlog{workflow="orders"}'] == 1


async def test_while_the_database_is_away_the_rest_is_still_told():
    store = StoreThatIsAway()
    async with gateway(store=store) as under_test:
        await under_test.post({})
        assert (await scrape(under_test))["ipaas_storage_up"] == 1
        store.away = True
        under_test.clock.move(seconds=5)
        told = await scrape(under_test)
    assert told["ipaas_storage_up"] == 0
    assert told['ipaas_events_accepted_total{workflow="orders"}'] == 1
    assert 'ipaas_backlog{workflow="orders"}' not in told


async def test_what_is_handed_to_prefect_is_counted_and_timed():
    async with gateway() as under_test:
        await under_test.post({})
        [execution] = await under_test.executions()
        under_test.clock.move(seconds=2)
        under_test.app.state.dispatcher._on_dispatched([execution])
        told = await scrape(under_test)
    assert told["ipaas_executions_dispatched_total"] == 1
    assert told["ipaas_dispatch_seconds_sum"] == 2


POLLING = ORDERS.replace("webhook: {auth: none}", "poll: {uses: rss.items, with: {url: 'http://x'}, every: 10m}")


async def test_a_poll_that_is_frozen_is_told_of():
    async with gateway(POLLING) as under_test:
        labels = '{poll="rss.items",workflow="orders"}'
        under_test.clock.move(minutes=10)
        fine, ready = await scrape(under_test), await under_test.http.get("/readyz")
        assert (fine[f"ipaas_poll_age_seconds{labels}"], fine[f"ipaas_poll_frozen{labels}"]) == (600, 0)
        assert "frozen_polls" not in ready.json()

        under_test.clock.move(minutes=30)
        claimed = await under_test.store.claim_poll(claim=90)
        assert claimed
        await under_test.store.fail_poll(claimed.hold, error={"code": "remote", "message": "gone"}, retry=60)
        frozen, ready = await scrape(under_test), await under_test.http.get("/readyz")
        assert (frozen[f"ipaas_poll_failures{labels}"], frozen[f"ipaas_poll_frozen{labels}"]) == (1, 1)
        assert ready.json()["frozen_polls"] == [
            {"workflow": "orders", "poll": "rss.items", "failures": 1, "seconds": 2400}
        ]

        await under_test.store.set_active("orders", False)
        under_test.clock.move(minutes=1)
        assert f"ipaas_poll_frozen{labels}" not in await scrape(under_test)
        assert "frozen_polls" not in (await under_test.http.get("/readyz")).json()


async def test_a_credential_that_is_lost_is_told_of_with_who_connected_it():
    async with gateway() as under_test:
        await under_test.store.connect_token("crm", "oauth2", "sealed", expires_in=60, by="kim")
        held = await under_test.store.claim_token("crm", "oauth2", claim=60)
        assert held
        labels = '{credential="crm",type="oauth2"}'
        assert (await scrape(under_test))[f"ipaas_credential_lost{labels}"] == 0
        assert "lost_credentials" not in (await under_test.http.get("/readyz")).json()

        failure = TokenFailure("invalid_grant", lasting=True, settings="")
        await under_test.store.fail_token(held.hold, failure, retry=3600)
        under_test.clock.move(minutes=1)
        assert (await scrape(under_test))[f"ipaas_credential_lost{labels}"] == 1
        assert (await under_test.http.get("/readyz")).json()["lost_credentials"] == [
            {"credential": "crm", "type": "oauth2", "connected_by": "kim"}
        ]


async def test_a_background_loop_that_ends_begins_again_and_is_shown():
    class FailsOnce(MemoryStore):
        failed = False

        async def backlog(self):
            if not self.failed:
                self.failed = True
                raise KeyError("a bug")
            return await super().backlog()

    async with gateway(store=FailsOnce()) as under_test:
        async with asyncio.timeout(10):
            while not (restarted := (await under_test.http.get("/readyz")).json().get("restarted")):
                await asyncio.sleep(0.01)
        assert (await under_test.post({})).status_code == 202

    assert list(restarted) == ["backlog"]
    assert (restarted["backlog"]["restarts"], restarted["backlog"]["last_error"]) == (1, "KeyError")


async def test_loops_that_never_ended_are_not_told_of():
    async with gateway() as under_test:
        assert "restarted" not in (await under_test.http.get("/readyz")).json()
