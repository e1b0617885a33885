"""What every `HistoryStore` does from an execution's beginning to its end: steps, leases, cancels."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from store_builders import (
    HOUR,
    MINUTE,
    SECOND,
    T0,
    a_step,
    accepted,
    admitted,
    an_execution,
    begin,
    begun,
    ended,
    finish,
    get,
    hold_of,
    ids,
    running,
    save,
)

from flows.history import Execution, HistoryStore, Hold, Refusal, Status
from foundation.clock import ManualClock


class RunningSuite:
    async def test_beginning_gives_the_execution_with_event_and_steps(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        execution_id = await accepted(store)

        clock.move(seconds=1)

        execution = await store.begin(execution_id, flow_run_id="run-1", owner="host/1", lease=60)

        assert isinstance(execution, Execution)
        assert execution == await store.execution(execution_id)
        assert (execution.status, execution.runs, execution.owner) == (Status.RUNNING, 1, "host/1")
        assert (execution.started_at, execution.lease_until) == (T0 + SECOND, T0 + SECOND + MINUTE)
        assert (execution.begun_at, execution.admitted_at, execution.spent) == (T0 + SECOND, T0 + SECOND, 0.0)
        assert (execution.flow_run_id, execution.event["body"]) == ("run-1", {"amount": 12})

    async def test_the_trace_it_was_accepted_in_goes_with_an_execution(self, store: HistoryStore) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        traced, untraced = await accepted(store, trace=trace), await accepted(store)

        [first, second] = await store.admit(limit=2, claim=60)
        begun_ = [await begun(store, execution_id) for execution_id in (traced, untraced)]

        assert (first.trace, second.trace) == (trace, None)
        assert [execution.trace for execution in begun_] == [trace, None]

    async def test_beginning_again_counts_and_keeps_the_first_start(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        execution_id = await accepted(store)
        await begun(store, execution_id, flow_run_id="run-1")
        await save(store, execution_id, a_step(output=1))
        clock.move(hours=1)

        again = await begun(store, execution_id, owner="other/2", lease=3_600)

        assert (again.runs, again.owner, again.started_at, again.flow_run_id) == (2, "other/2", T0, "run-1")
        assert (again.begun_at, again.lease_until) == (T0 + HOUR, T0 + 2 * HOUR)
        assert [step.output for step in again.steps] == [1]

    @pytest.mark.parametrize("status", [status for status in Status if status.is_final])
    async def test_what_has_ended_is_not_begun(self, store: HistoryStore, status: Status) -> None:
        execution_id = await ended(store, status)

        assert await begin(store, execution_id) is Refusal.ENDED
        assert (await get(store, execution_id)).status is status

    async def test_what_is_unknown_is_not_begun(self, store: HistoryStore) -> None:
        assert await begin(store, "unknown") is Refusal.UNKNOWN

    async def test_a_begun_execution_is_claimed_by_nobody(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await accepted(store)
        await admitted(store)
        await begun(store, execution_id)
        clock.move(days=1)

        assert await admitted(store) == []

    async def test_a_step_saved_again_is_replaced(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        done = a_step(attempts=3, output={"ts": "1"}, started_at=T0, finished_at=T0 + SECOND)

        await save(store, execution_id, a_step(status=Status.RUNNING, started_at=T0))
        await save(store, execution_id, done)

        assert (await get(store, execution_id)).steps == (done,)

    async def test_what_a_step_decided_comes_back_when_its_execution_begins_again(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        small, large = {"case": None}, {"items": ["x" * 300_000, 2]}

        await save(store, execution_id, a_step("route", Status.RUNNING, decision=small))
        await save(store, execution_id, a_step("lines", Status.RUNNING, decision=large))

        assert [step.decision for step in (await get(store, execution_id)).steps] == [small, large]

    async def test_steps_are_in_the_order_they_started(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        order = [("b", SECOND), ("a", SECOND), ("skipped", None), ("d", 3 * SECOND), ("c", 2 * SECOND)]
        for path, after in order:
            await save(store, execution_id, a_step(path, started_at=T0 + after if after else None))
        await save(store, execution_id, a_step("b", started_at=T0 + SECOND, attempts=2))

        assert [step.path for step in (await get(store, execution_id)).steps] == ["b", "a", "skipped", "c", "d"]

    async def test_a_step_of_an_unknown_execution_is_refused(self, store: HistoryStore) -> None:
        assert await store.save_steps(Hold("unknown", "host/1", 1), [a_step()]) is False

    async def test_one_refused_write_does_not_fail_its_neighbours(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        hold = await hold_of(store, execution_id)

        *saved, _ = await asyncio.gather(
            store.save_steps(hold, [a_step("one")]),
            store.save_steps(replace(hold, run=2), [a_step("two")]),
            store.save_steps(hold, [a_step("three")]),
            store.accept([an_execution(id="neighbour")]),
        )

        assert saved == [True, False, True]
        assert [step.path for step in (await get(store, execution_id)).steps] == ["one", "three"]
        assert (await get(store, "neighbour")).status is Status.ACCEPTED

    async def test_the_first_end_wins(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await running(store)
        hold = await hold_of(store, execution_id)

        clock.move(seconds=1)
        assert await store.finish(hold, Status.SUCCEEDED, output={"sent": 1}, answer={"status": 200}) is True
        clock.move(hours=1)
        assert await store.finish(hold, Status.FAILED, error={"code": "x"}) is False

        execution = await get(store, execution_id)
        assert (execution.status, execution.finished_at) == (Status.SUCCEEDED, T0 + SECOND)
        assert (execution.output, execution.error, execution.answer) == ({"sent": 1}, None, {"status": 200})
        assert (execution.owner, execution.lease_until) == (None, None)

    async def test_of_two_ends_at_once_one_wins(self, store: HistoryStore) -> None:
        hold = await hold_of(store, await running(store))

        won = await asyncio.gather(*(store.finish(hold, Status.SUCCEEDED) for _ in range(5)))

        assert won.count(True) == 1

    async def test_an_unknown_execution_does_not_end(self, store: HistoryStore) -> None:
        assert await store.finish(Hold("unknown", None, 0), Status.FAILED) is False

    @pytest.mark.parametrize("status", [Status.ACCEPTED, Status.RUNNING])
    async def test_only_an_end_ends(self, store: HistoryStore, status: Status) -> None:
        hold = await hold_of(store, await running(store))

        with pytest.raises(ValueError, match="is no end"):
            await store.finish(hold, status)

    async def test_what_was_never_begun_can_end(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)

        assert await store.finish(Hold(execution_id, None, 0), Status.FAILED, error={"code": "crashed"}) is True
        assert await admitted(store) == []

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (Status.SUCCEEDED, Status.CANCELLED),
            (Status.CANCELLED, Status.CANCELLED),
            (Status.FAILED, Status.FAILED),
            (Status.TIMED_OUT, Status.TIMED_OUT),
        ],
    )
    async def test_an_end_closes_the_steps_that_still_run(
        self, store: HistoryStore, clock: ManualClock, status: Status, expected: Status
    ) -> None:
        execution_id = await running(store)
        done = a_step("done", finished_at=T0, started_at=T0)
        await save(store, execution_id, done, a_step("open", Status.RUNNING, started_at=T0 + SECOND))
        clock.move(minutes=1)

        await finish(store, execution_id, status)

        first, second = (await get(store, execution_id)).steps
        assert first == done
        assert (second.status, second.finished_at) == (expected, T0 + MINUTE)

    async def test_only_the_owner_renews_its_lease(self, store: HistoryStore, clock: ManualClock) -> None:
        mine, others = await running(store, owner="host/1"), await running(store, owner="host/2")
        waits, over = await accepted(store), await running(store)
        holds = [await hold_of(store, execution_id) for execution_id in (mine, others, waits, over)]
        await store.finish(holds[-1], Status.SUCCEEDED)
        clock.move(seconds=30)

        unknown = Hold("unknown", "host/1", 1)
        renewed = await store.renew([holds[0], replace(holds[1], owner="host/1"), *holds[2:], unknown], lease=3_600)

        leases = [(await get(store, execution_id)).lease_until for execution_id in (mine, others, waits, over)]
        assert leases == [T0 + HOUR + 30 * SECOND, T0 + MINUTE, None, None]
        assert renewed == {mine: None}

    async def test_many_leases_are_renewed_at_once(self, store: HistoryStore) -> None:
        holds = [await hold_of(store, await running(store, workflow=f"w{n % 20}")) for n in range(100)]

        assert set(await store.renew(holds, lease=60)) == {hold.execution_id for hold in holds}

    async def test_a_lease_that_is_over_has_expired(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await running(store, lease=60)
        long_over = await running(store, lease=-60)
        await running(store, lease=3_600)
        await accepted(store)
        await ended(store)

        clock.move(seconds=59)
        assert ids(await store.expired()) == [long_over]
        clock.move(seconds=1)
        assert ids(await store.expired()) == [long_over, execution_id]
        assert ids(await store.expired(1)) == [long_over]

    async def test_running_executions_are_found_by_their_owner(self, store: HistoryStore) -> None:
        mine = [await running(store, owner="host/1"), await running(store, owner="host/12")]
        for other in ("Host/1", "host2/1", "hos_/1", "h%"):
            await running(store, owner=other)
        await ended(store, owner="host/1")

        assert ids(await store.owned("host/")) == mine
        assert ids(await store.owned("hos_/")) != mine
        assert len(await store.owned("h%")) == 1

    async def test_a_requeued_execution_waits_with_its_flow_run_and_steps(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        execution_id = await accepted(store)
        await admitted(store)
        await store.dispatched({execution_id: "run-1"})
        hold = (await begun(store, execution_id, flow_run_id="run-1")).hold
        await store.save_steps(hold, [a_step(status=Status.RUNNING, started_at=T0)])
        clock.move(hours=1)

        assert await store.requeue(hold) is True

        execution = await get(store, execution_id)
        assert (execution.status, execution.flow_run_id, execution.runs) == (Status.ACCEPTED, "run-1", 1)
        assert (execution.owner, execution.lease_until, execution.admitted_at) == (None, None, T0)
        assert [step.status for step in execution.steps] == [Status.RUNNING]
        assert await admitted(store) == []
        clock.move(minutes=1)
        assert await store.stale_dispatches(older_than=60, limit=10) == []  # it waits since it was requeued
        clock.move(seconds=1)
        assert ids(await store.stale_dispatches(older_than=60, limit=10)) == [execution_id]

    async def test_a_requeued_execution_without_a_flow_run_is_dispatched(self, store: HistoryStore) -> None:
        execution_id = await running(store)

        assert await store.requeue(await hold_of(store, execution_id)) is True
        assert await admitted(store) == [execution_id]

    async def test_only_the_owner_requeues_and_only_what_runs(self, store: HistoryStore) -> None:
        runs, waits, over = await running(store), await accepted(store), await ended(store)

        assert await store.requeue(Hold(runs, "host/2", 1)) is False
        assert await store.requeue(Hold(runs, None, 1)) is False
        assert await store.requeue(Hold(waits, None, 0)) is False
        assert await store.requeue(Hold(over, "host/1", 1)) is False
        assert await store.requeue(Hold("unknown", "host/1", 1)) is False
        assert (await get(store, runs)).status is Status.RUNNING

    async def test_a_cancelled_execution_that_was_not_dispatched_ends_at_once(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        execution_id = await accepted(store)
        clock.move(seconds=1)

        execution = await store.request_cancel(execution_id, by="api", reason="wrong order")

        assert execution is not None
        assert (execution.status, execution.finished_at) == (Status.CANCELLED, T0 + SECOND)
        assert execution.cancel_requested == {"by": "api", "reason": "wrong order"}
        assert await admitted(store) == []
        assert await begin(store, execution_id) is Refusal.ENDED

    async def test_a_cancelled_execution_that_was_dispatched_is_told_when_it_begins(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        await store.dispatched({execution_id: "run-1"})

        noted = await store.request_cancel(execution_id, by="api", reason="")
        execution = await begun(store, execution_id)

        assert noted is not None
        assert (noted.status, noted.flow_run_id) == (Status.ACCEPTED, "run-1")
        assert execution.cancel_requested == {"by": "api", "reason": ""}

    async def test_a_cancel_of_a_running_execution_is_noted_and_the_first_request_stays(
        self, store: HistoryStore
    ) -> None:
        execution_id = await running(store)

        await store.request_cancel(execution_id, by="first", reason="a")
        execution = await store.request_cancel(execution_id, by="second", reason="b")

        assert execution is not None
        assert (execution.status, execution.finished_at) == (Status.RUNNING, None)
        assert execution.cancel_requested == {"by": "first", "reason": "a"}

    async def test_a_cancel_comes_too_late_for_what_has_ended(self, store: HistoryStore) -> None:
        execution_id = await ended(store)

        execution = await store.request_cancel(execution_id, by="api", reason="")

        assert execution is not None
        assert (execution.status, execution.cancel_requested) == (Status.SUCCEEDED, None)

    async def test_a_cancel_of_an_unknown_execution_is_nothing(self, store: HistoryStore) -> None:
        assert await store.request_cancel("unknown", by="api", reason="") is None

    async def test_cancels_are_found_by_those_who_run_the_executions(self, store: HistoryStore) -> None:
        one, other, third = [await running(store) for _ in range(3)]
        await store.request_cancel(one, by="api", reason="wrong")
        await store.request_cancel(third, by="api", reason="")

        holds = [await hold_of(store, execution_id) for execution_id in (one, other)]
        assert await store.renew(holds, lease=60) == {one: {"by": "api", "reason": "wrong"}, other: None}
