"""What every `HistoryStore` does about who may write: one run of one process, and nobody it was taken from."""

from __future__ import annotations

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
    begin,
    begun,
    ended,
    get,
    hold_of,
    running,
    save,
)

from flows.history import Execution, HistoryStore, Hold, Refusal, Status
from foundation.clock import ManualClock


async def taken_over(store: HistoryStore) -> tuple[Hold, Hold]:
    """The hold of a process that lost its execution, and that of the one that has it now."""
    execution_id = await accepted(store)
    stale = (await begun(store, execution_id, owner="slow/1", lease=0)).hold
    return stale, (await begun(store, execution_id, owner="quick/2")).hold


class HoldSuite:
    async def test_a_hold_says_who_runs_it_in_which_run(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)

        assert await hold_of(store, execution_id) == Hold(execution_id, None, 0)
        assert (await begun(store, execution_id)).hold == Hold(execution_id, "host/1", 1)
        await store.requeue(Hold(execution_id, "host/1", 1))
        assert await hold_of(store, execution_id) == Hold(execution_id, None, 1)

    async def test_a_live_lease_keeps_others_out(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await running(store, owner="host/1", lease=60)
        before = await get(store, execution_id)

        clock.move(seconds=59)
        assert await begin(store, execution_id, owner="host/2", flow_run_id="run-2") is Refusal.HELD
        assert await get(store, execution_id) == before
        clock.move(seconds=1)
        assert (await begun(store, execution_id, owner="host/2")).owner == "host/2"

    async def test_its_own_execution_is_begun_again_at_any_time(self, store: HistoryStore) -> None:
        execution_id = await running(store, owner="host/1", lease=60)

        assert (await begun(store, execution_id, owner="host/1")).runs == 2

    async def test_who_was_taken_over_writes_nothing_any_more(self, store: HistoryStore) -> None:
        stale, hold = await taken_over(store)
        await store.save_steps(hold, [a_step("done", output=1)])
        before = await get(store, hold.execution_id)

        assert await store.save_steps(stale, [a_step("done", output=2)]) is False
        assert await store.save_steps(stale, [a_step("new")]) is False
        assert await store.finish(stale, Status.FAILED, output=1, answer={"status": 200}) is False
        assert await store.renew([stale], lease=3_600) == {}
        assert await store.requeue(stale) is False

        assert await get(store, hold.execution_id) == before

    async def test_who_took_over_writes(self, store: HistoryStore) -> None:
        _, hold = await taken_over(store)

        assert await store.save_steps(hold, [a_step()]) is True
        assert await store.renew([hold], lease=60) == {hold.execution_id: None}
        assert await store.finish(hold, Status.SUCCEEDED) is True

    async def test_an_earlier_run_of_the_same_process_writes_nothing(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        earlier = (await begun(store, execution_id)).hold
        await store.requeue(earlier)
        now = (await begun(store, execution_id)).hold

        assert earlier.owner == now.owner
        assert await store.save_steps(earlier, [a_step()]) is False
        assert await store.finish(earlier, Status.FAILED) is False
        assert await store.renew([earlier, now], lease=60) == {execution_id: None}

    async def test_nothing_is_saved_for_what_nobody_runs(self, store: HistoryStore) -> None:
        waiting, over = await accepted(store), await ended(store)

        assert await store.save_steps(Hold(waiting, None, 0), [a_step()]) is False
        assert await store.save_steps(Hold(over, None, 1), [a_step()]) is False
        assert await store.save_steps(Hold(over, "host/1", 1), [a_step()]) is False
        assert (await get(store, waiting)).steps == (await get(store, over)).steps == ()

    async def test_what_was_handed_back_can_be_ended_by_whoever_saw_it(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        await store.requeue(await hold_of(store, execution_id))
        seen = await hold_of(store, execution_id)
        again = (await begun(store, execution_id)).hold

        assert await store.finish(seen, Status.FAILED) is False
        await store.requeue(again)
        assert await store.finish(replace(seen, run=2), Status.FAILED) is True

    async def test_what_has_ended_is_ended_by_no_hold(self, store: HistoryStore) -> None:
        over = await ended(store, Status.SUCCEEDED)

        for owner in (None, "host/1"):
            assert await store.finish(Hold(over, owner, 1), Status.FAILED) is False
        assert (await get(store, over)).status is Status.SUCCEEDED

    async def test_the_steps_that_were_saved_in_time_are_there_for_the_next_run(self, store: HistoryStore) -> None:
        execution_id = await running(store, lease=0)
        await save(store, execution_id, a_step("one", output=1), a_step("two", Status.RUNNING))

        again = await begun(store, execution_id, owner="other/2")

        assert [(step.path, step.status) for step in again.steps] == [
            ("one", Status.SUCCEEDED),
            ("two", Status.RUNNING),
        ]

    async def test_a_run_counts_up_to_its_last_sign_of_life(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await accepted(store)
        clock.move(hours=1)
        hold = (await begun(store, execution_id)).hold
        clock.move(seconds=5)
        await store.renew([hold], lease=30)
        clock.move(hours=1)  # nobody knows whether it still ran

        assert await store.requeue(hold) is True

        back = await get(store, execution_id)
        assert (back.spent, back.begun_at, back.started_at) == (5.0, None, T0 + HOUR)
        clock.move(hours=1)
        hold = (await begun(store, execution_id)).hold
        clock.move(seconds=2)
        await store.renew([hold], lease=30)
        await store.requeue(hold)
        assert (await get(store, execution_id)).spent == 7.0

    async def test_a_run_that_was_taken_over_counts_too(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await running(store, lease=30)
        clock.move(seconds=20)
        await store.renew([await hold_of(store, execution_id)], lease=30)
        clock.move(minutes=1)

        again = await begun(store, execution_id, owner="other/2")

        assert (again.spent, again.begun_at) == (20.0, T0 + MINUTE + 20 * SECOND)

    async def test_a_run_without_a_sign_of_life_counts_nothing(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await running(store, lease=30)
        clock.move(hours=1)

        await store.requeue(await hold_of(store, execution_id))

        assert (await get(store, execution_id)).spent == 0.0

    async def test_a_renewal_counts_from_now(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await running(store, lease=30)
        clock.move(hours=1)

        await store.renew([await hold_of(store, execution_id)], lease=30)

        assert (await get(store, execution_id)).lease_until == T0 + HOUR + 30 * SECOND

    async def test_what_was_admitted_and_is_begun_keeps_when_it_was_admitted(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        execution_id = await accepted(store)
        await admitted(store)
        clock.move(hours=1)

        execution = await begun(store, execution_id)

        assert (execution.admitted_at, execution.started_at) == (T0, T0 + HOUR)

    @pytest.mark.parametrize("lease", [0, -30])
    async def test_a_lease_without_length_is_over_at_once(self, store: HistoryStore, lease: float) -> None:
        execution_id = await running(store, lease=lease)

        assert isinstance(await begin(store, execution_id, owner="other/2"), Execution)
