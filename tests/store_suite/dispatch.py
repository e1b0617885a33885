"""What every `HistoryStore` does between accepting and beginning: backlog, claims, flow runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from store_builders import (
    MINUTE,
    SECOND,
    T0,
    a_version,
    accepted,
    admitted,
    an_execution,
    begin,
    begun,
    ended,
    get,
    ids,
    running,
)

from flows.history import HistoryStore, Refusal, Status
from flows.history.documents import from_document
from foundation.clock import ManualClock


class DispatchSuite:
    async def test_the_backlog_counts_what_is_not_begun_by_workflow(self, store: HistoryStore) -> None:
        await accepted(store, workflow="a")
        await accepted(store, workflow="a", flow_run_id="run-1")
        await accepted(store, workflow="b")
        await running(store, workflow="b")
        await ended(store, workflow="c")

        assert await store.backlog() == {"a": 2, "b": 1}

    async def test_the_oldest_accepted_is_the_one_that_waits_longest(self, store: HistoryStore) -> None:
        assert await store.oldest_accepted() is None

        await running(store, accepted_at=T0)
        await accepted(store, accepted_at=T0 + SECOND)
        await accepted(store, accepted_at=T0 + MINUTE)

        assert await store.oldest_accepted() == T0 + SECOND

    async def test_claims_are_oldest_first_and_limited(self, store: HistoryStore) -> None:
        late, early, middle = [await accepted(store, accepted_at=T0 + SECOND * n) for n in (3, 1, 2)]

        assert await admitted(store, limit=2) == [early, middle]
        assert await admitted(store, limit=2) == [late]
        assert await admitted(store, limit=2) == []

    async def test_a_claim_has_the_event(self, store: HistoryStore) -> None:
        new = an_execution(event={"body": "hello"})
        await store.accept([new])

        (execution,) = await store.admit(limit=1, claim=60)

        event = from_document(execution.event)
        assert replace(execution, event=event) == await store.execution(new.id)

    async def test_what_has_a_flow_run_or_runs_is_not_claimed(self, store: HistoryStore) -> None:
        dispatched = await accepted(store)
        await admitted(store)
        await store.dispatched({dispatched: "run-1"})
        await running(store)
        await ended(store)

        assert await admitted(store) == []

    async def test_a_claim_runs_out(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await accepted(store)
        await admitted(store, claim=60)

        clock.move(seconds=59)
        assert await admitted(store) == []
        clock.move(seconds=1)
        assert await admitted(store) == [execution_id]

    async def test_a_released_claim_is_free_at_once(self, store: HistoryStore) -> None:
        released, kept = await accepted(store), await accepted(store)
        await admitted(store)

        await store.release([released])

        assert await admitted(store) == [released]
        assert kept not in await admitted(store)

    async def test_many_who_claim_at_once_share_out_the_executions(self, store: HistoryStore) -> None:
        await store.publish(a_version(declaration={"concurrency": {"limit": 20}}))
        all_ids = [await accepted(store) for _ in range(12)]

        shares = await asyncio.gather(*(admitted(store, limit=3) for _ in range(6)))

        assert sorted(execution_id for share in shares for execution_id in share) == sorted(all_ids)

    async def test_a_dispatched_execution_has_its_flow_run_and_is_not_claimed_again(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        one, two = await accepted(store), await accepted(store)
        await admitted(store)

        await store.dispatched({two: "run-2", one: "run-1", "unknown": "run-3"})

        clock.move(days=1)
        assert await admitted(store) == []
        assert (await get(store, one)).flow_run_id == "run-1"
        found = await store.execution_of_flow_run("run-2")
        assert found is not None
        assert (found.id, found.status) == (two, Status.ACCEPTED)
        assert await store.execution_of_flow_run("run-3") is None

    async def test_dispatching_nothing_is_fine(self, store: HistoryStore) -> None:
        await store.dispatched({})
        await store.release([])
        assert await store.renew([], lease=60) == {}
        assert await store.finished([]) == {}
        assert await store.executions_of_flow_runs([]) == {}

    async def test_an_execution_cancelled_while_it_was_dispatched_stays_cancelled(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        await admitted(store)
        await store.request_cancel(execution_id, by="api", reason="wrong")

        await store.dispatched({execution_id: "run-1"})

        execution = await get(store, execution_id)
        assert (execution.status, execution.flow_run_id) == (Status.CANCELLED, "run-1")
        assert await begin(store, execution_id, flow_run_id="run-1") is Refusal.ENDED

    async def test_an_execution_begun_before_its_dispatch_was_noted_keeps_running(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        await begun(store, execution_id, flow_run_id="run-1")

        await store.dispatched({execution_id: "run-1"})

        execution = await get(store, execution_id)
        assert (execution.status, execution.flow_run_id) == (Status.RUNNING, "run-1")

    async def test_a_dispatch_not_begun_for_long_is_stale(self, store: HistoryStore, clock: ManualClock) -> None:
        first, second, third, taken = [await accepted(store) for _ in range(4)]
        await admitted(store)
        await store.dispatched({second: "run-2", taken: "run-4"})
        await begun(store, taken)
        clock.move(minutes=1)
        await store.dispatched({first: "run-1"})
        clock.move(minutes=1)
        await store.dispatched({third: "run-3"})

        assert ids(await store.stale_dispatches(older_than=0, limit=10)) == [second, first]
        assert ids(await store.stale_dispatches(older_than=0, limit=1)) == [second]
        assert ids(await store.stale_dispatches(older_than=60, limit=10)) == [second]
        assert ids(await store.stale_dispatches(older_than=120, limit=10)) == []

    async def test_what_waits_for_a_slot_is_no_stale_dispatch(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await accepted(store, flow_run_id="run-1")
        clock.move(hours=1)
        waiting = await store.stale_dispatches(older_than=60, limit=10)
        await admitted(store)
        woken = await store.stale_dispatches(older_than=60, limit=10)
        clock.move(hours=1)

        assert (waiting, woken) == ([], [])
        assert ids(await store.stale_dispatches(older_than=60, limit=10)) == [execution_id]

    async def test_an_undispatched_execution_is_claimed_again(self, store: HistoryStore) -> None:
        lost, begun_since = await accepted(store), await accepted(store)
        await admitted(store)
        await store.dispatched({lost: "run-1", begun_since: "run-2"})
        await begun(store, begun_since)

        await store.undispatch(lost)
        await store.undispatch(begun_since)

        assert await admitted(store) == [lost]
        assert (await get(store, lost)).flow_run_id is None
        assert (await get(store, begun_since)).flow_run_id == "run-2"
