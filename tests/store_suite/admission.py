"""What every `HistoryStore` does about a workflow's limit: who is admitted, in which order, and who is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from store_builders import (
    MINUTE,
    SECOND,
    T0,
    a_step,
    a_version,
    accepted,
    admitted,
    begin,
    begun,
    ended,
    finish,
    get,
    hold_of,
    ids,
    running,
)

from flows.history import HistoryStore, Refusal, Status, StepExecution
from flows.history.documents import from_document
from foundation.clock import ManualClock


async def publish(store: HistoryStore, workflow: str = "orders", *, limit: int = 2, overflow: str = "wait") -> None:
    declaration = {"concurrency": {"limit": limit, "overflow": overflow}}
    await store.publish(a_version(workflow=workflow, declaration=declaration))


async def several(store: HistoryStore, count: int, **values: Any) -> list[str]:
    return [await accepted(store, accepted_at=T0 + SECOND * n, **values) for n in range(count)]


class AdmissionSuite:
    async def test_a_workflow_has_no_more_admitted_than_its_limit(self, store: HistoryStore) -> None:
        await publish(store, limit=2)
        waiting = await several(store, 4)

        assert await admitted(store) == waiting[:2]
        assert await admitted(store) == []
        assert [(await get(store, one)).admitted_at for one in waiting] == [T0, T0, None, None]

    async def test_an_end_makes_room_for_the_next(self, store: HistoryStore) -> None:
        await publish(store, limit=2)
        waiting = await several(store, 4)
        await admitted(store)

        await begun(store, waiting[1])
        await finish(store, waiting[1], Status.FAILED)

        assert await admitted(store) == [waiting[2]]

    async def test_whatever_an_admitted_execution_does_it_keeps_its_slot(self, store: HistoryStore) -> None:
        await publish(store, limit=1)
        first, second = await several(store, 2)
        assert await admitted(store) == [first]

        await store.dispatched({first: "run-1"})
        assert await admitted(store) == []
        await begun(store, first, flow_run_id="run-1")
        assert await admitted(store) == []
        await store.requeue(await hold_of(store, first))
        assert await admitted(store) == []
        await store.undispatch(first)
        assert await admitted(store) == [first]
        assert await admitted(store) == []
        await store.request_cancel(first, by="api", reason="")
        assert await admitted(store) == [second]

    async def test_a_workflow_that_was_never_published_has_the_default_limit(self, store: HistoryStore) -> None:
        waiting = await several(store, 12)

        assert await admitted(store) == waiting[:10]

    async def test_workflows_take_turns(self, store: HistoryStore) -> None:
        for workflow in ("long", "other", "short"):
            await publish(store, workflow, limit=100)
        long = await several(store, 6, workflow="long")
        late = [await accepted(store, workflow=name, accepted_at=T0 + MINUTE) for name in ("other", "short")]

        assert await admitted(store, limit=4) == [long[0], *late, long[1]]
        assert await admitted(store, limit=2) == long[2:4]

    async def test_a_full_workflow_hides_no_other(self, store: HistoryStore) -> None:
        await publish(store, "full", limit=1)
        await publish(store, "free", limit=1)
        full = await several(store, 300, workflow="full")
        free = await accepted(store, workflow="free", accepted_at=T0 + MINUTE)

        assert await admitted(store) == [full[0], free]
        assert await admitted(store) == []

    async def test_what_was_released_takes_turns_too(self, store: HistoryStore) -> None:
        await publish(store, "broken", limit=5)
        await publish(store, "sound", limit=5)
        broken = await several(store, 5, workflow="broken")
        await admitted(store)
        await store.release(broken)
        sound = await accepted(store, workflow="sound", accepted_at=T0 + MINUTE)

        assert await admitted(store, limit=2) == [broken[0], sound]

    async def test_what_nobody_claims_is_handed_over_before_what_waits(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await publish(store, limit=3)
        waiting = await several(store, 4)
        assert await admitted(store, limit=1, claim=30) == waiting[:1]
        clock.move(seconds=30)

        assert await admitted(store, claim=30) == waiting[:3]
        assert (await get(store, waiting[0])).admitted_at == T0

    async def test_a_claim_counts_from_when_it_was_made(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await accepted(store)
        clock.move(hours=1)
        await admitted(store, claim=30)

        clock.move(seconds=29)
        assert await admitted(store) == []
        clock.move(seconds=1)
        assert await admitted(store) == [execution_id]

    async def test_a_limit_is_changed_while_executions_run(self, store: HistoryStore) -> None:
        await publish(store, limit=1)
        waiting = await several(store, 5)
        assert await admitted(store) == waiting[:1]

        await store.set_limit("orders", 3)
        assert await admitted(store) == waiting[1:3]
        await store.set_limit("orders", 1)
        await begun(store, waiting[0])
        await finish(store, waiting[0], Status.SUCCEEDED)
        assert await admitted(store) == []

    async def test_a_limit_of_zero_admits_nothing_until_it_is_raised(self, store: HistoryStore) -> None:
        await publish(store)
        await store.set_limit("orders", 0)
        execution_id = await accepted(store)

        assert await admitted(store) == []
        assert await begin(store, execution_id) is Refusal.FULL
        await store.set_limit("orders", 1)
        assert await admitted(store) == [execution_id]

    async def test_beyond_the_limit_executions_are_cancelled_where_the_workflow_says_so(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await publish(store, limit=2, overflow="cancel")
        waiting = await several(store, 4)
        clock.move(minutes=1)

        assert await admitted(store, limit=1) == waiting[:1]

        assert [(await get(store, one)).status for one in waiting] == [Status.ACCEPTED] * 2 + [Status.CANCELLED] * 2
        over = await get(store, waiting[3])
        message = "cancelled: the workflow's limit of 2 executions at once was reached"
        assert over.error == {"code": "cancelled", "message": message, "step": None}
        assert (over.finished_at, over.admitted_at) == (T0 + MINUTE, None)
        assert await admitted(store) == waiting[1:2]

    async def test_what_is_admitted_is_not_cancelled_by_a_lower_limit(self, store: HistoryStore) -> None:
        await publish(store, limit=2, overflow="cancel")
        waiting = await several(store, 2)
        await admitted(store)

        await store.set_limit("orders", 0)
        await admitted(store)

        assert [(await get(store, one)).status for one in waiting] == [Status.ACCEPTED] * 2

    async def test_what_prefect_made_is_returned_once_when_it_is_admitted(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await publish(store, limit=1)
        first = await running(store)
        made = await accepted(store, flow_run_id="run-1")
        assert await begin(store, made) is Refusal.FULL
        assert await admitted(store) == []

        await finish(store, first, Status.SUCCEEDED)
        (execution,) = await store.admit(limit=10, claim=30)

        assert (execution.id, execution.flow_run_id, from_document(execution.event)["id"]) == (made, "run-1", "event-1")
        clock.move(hours=1)
        assert await admitted(store) == []

    async def test_one_that_begins_unadmitted_takes_a_slot(self, store: HistoryStore) -> None:
        await publish(store, limit=2)
        one, two, three = await several(store, 3)

        await begun(store, two, flow_run_id="run-2")

        assert (await get(store, two)).admitted_at == T0
        assert await admitted(store) == [one]
        assert await begin(store, three, flow_run_id="run-3") is Refusal.FULL
        full = await get(store, three)
        assert (full.status, full.flow_run_id, full.admitted_at, full.runs) == (Status.ACCEPTED, "run-3", None, 0)

    async def test_one_that_begins_beyond_the_limit_is_cancelled_where_the_workflow_says_so(
        self, store: HistoryStore
    ) -> None:
        await publish(store, limit=1, overflow="cancel")
        await running(store)
        taken_over = [a_step("one"), StepExecution("open", "log.message", Status.RUNNING)]
        execution_id = await accepted(store, steps=taken_over)

        assert await begin(store, execution_id, flow_run_id="run-1") is Refusal.ENDED

        over = await get(store, execution_id)
        assert (over.status, over.flow_run_id, over.error["code"]) == (Status.CANCELLED, "run-1", "cancelled")
        assert [step.status for step in over.steps] == [Status.SUCCEEDED, Status.CANCELLED]

    async def test_an_admitted_execution_begins_however_full_its_workflow_is(self, store: HistoryStore) -> None:
        await publish(store, limit=2)
        one, two = await several(store, 2)
        await admitted(store)
        await store.set_limit("orders", 0)

        assert (await begun(store, one)).status is Status.RUNNING
        assert (await begun(store, two)).status is Status.RUNNING

    async def test_begun_all_at_once_no_more_begin_than_the_limit(self, store: HistoryStore) -> None:
        await publish(store, limit=3)
        waiting = await several(store, 10)

        results = await asyncio.gather(*(begin(store, execution_id) for execution_id in waiting))

        assert results.count(Refusal.FULL) == 7

    @pytest.mark.parametrize("limit", [0, 1])
    async def test_as_many_are_returned_as_asked_for(self, store: HistoryStore, limit: int) -> None:
        await several(store, 3)

        assert len(await admitted(store, limit=limit)) == limit

    async def test_the_backlog_counts_what_waits_and_what_is_admitted(self, store: HistoryStore) -> None:
        await publish(store, limit=1)
        waiting = await several(store, 3)
        await several(store, 1, workflow="other")
        await admitted(store)
        await ended(store, workflow="third")

        assert await store.backlog() == {"orders": 3, "other": 1}
        assert await store.oldest_accepted() == T0
        await begun(store, waiting[0])
        assert await store.backlog() == {"orders": 2, "other": 1}
        assert ids((await store.executions(status=Status.RUNNING)).items) == waiting[:1]
