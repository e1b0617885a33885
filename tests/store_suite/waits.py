"""What every history does for executions that wait for something outside: a part of `StoreSuite`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from store_builders import (
    DAY,
    HOUR,
    SECOND,
    T0,
    a_step,
    a_version,
    accepted,
    admitted,
    begin,
    begun,
    finish,
    get,
    hold_of,
    running,
    save,
)

from flows.history import (
    Delivery,
    Execution,
    HistoryStore,
    Key,
    NewWait,
    Refusal,
    Status,
    WaitKind,
    signal_address,
    step_address,
)
from foundation.clock import ManualClock

PAID = signal_address("paid-42")
KEEP = DAY.total_seconds()


def a_timer(path: str = "pause", **values: Any) -> NewWait:
    return NewWait(path, WaitKind.TIME, due_at=T0 + HOUR, **values)


def a_signal(path: str = "paid", address: str = PAID, **values: Any) -> NewWait:
    return NewWait(path, WaitKind.SIGNAL, address, **values)


async def parked(store: HistoryStore, *waits: NewWait, **new: Any) -> str:
    execution_id = await running(store, **new)
    assert await store.park(await hold_of(store, execution_id), waits)
    return execution_id


async def send(store: HistoryStore, answer: Any = None, address: str = PAID, by: str | None = "Ada") -> Delivery:
    return await store.answer(address, answer, by=by, keep=KEEP)


class WaitsSuite:
    async def test_what_waits_holds_nothing(self, store: HistoryStore, clock: ManualClock) -> None:
        await store.publish(a_version(declaration={"concurrency": 1}))
        execution_id = await running(store)
        clock.move(seconds=7)

        assert await store.park(await hold_of(store, execution_id), [a_signal(due_at=T0 + DAY, document={"a": 1})])

        waiting = await get(store, execution_id)
        assert (waiting.status, waiting.owner, waiting.lease_until) == (Status.WAITING, None, None)
        assert (waiting.admitted_at, waiting.begun_at, waiting.spent) == (None, None, 7.0)
        assert (waiting.parked_at, waiting.parked_runs) == (T0 + 7 * SECOND, 1)
        [wait] = waiting.waits
        assert (wait.path, wait.kind, wait.address) == ("paid", WaitKind.SIGNAL, PAID)
        assert (wait.begun_at, wait.due_at, wait.document) == (T0 + 7 * SECOND, T0 + DAY, {"a": 1})
        assert (wait.ended_at, wait.answered) == (None, False)
        other = await accepted(store)
        assert await admitted(store) == [other]
        assert await store.backlog() == {"orders": 1}
        assert await store.expired() == await store.stale_dispatches(older_than=-1, limit=9) == []
        assert await begin(store, execution_id) is Refusal.WAITING

    async def test_an_answer_wakes_it_at_the_front_of_its_queue(self, store: HistoryStore, clock: ManualClock) -> None:
        execution_id = await parked(store, a_signal(), flow_run_id="run-1")
        younger = await accepted(store, accepted_at=T0 + SECOND)
        clock.move(seconds=5)

        assert await send(store, {"amount": 3}) is Delivery.DELIVERED

        woken = await get(store, execution_id)
        assert (woken.status, woken.parked_at, woken.flow_run_id) == (Status.ACCEPTED, None, "run-1")
        assert await admitted(store) == [execution_id, younger]
        again = await begun(store, execution_id)
        [wait] = again.waits
        assert (wait.ended_at, wait.answered) == (T0 + 5 * SECOND, True)
        assert (wait.answer, wait.answered_by) == ({"amount": 3}, "Ada")
        assert (again.runs, again.parked_runs) == (2, 1)

    async def test_an_answer_that_comes_first_is_kept(self, store: HistoryStore) -> None:
        assert await send(store, 1) is Delivery.KEPT
        assert await send(store, 2) is Delivery.KNOWN

        execution_id = await parked(store, a_signal())

        early = await get(store, execution_id)
        assert (early.status, early.waits[0].answer) == (Status.ACCEPTED, 1)
        assert await send(store, 3) is Delivery.KEPT

    async def test_what_is_kept_is_kept_for_a_while(self, store: HistoryStore, clock: ManualClock) -> None:
        await send(store, 1)
        clock.move(seconds=KEEP)
        assert await store.forget_deliveries(limit=10) == 0
        execution_id = await parked(store, a_signal())
        assert (await get(store, execution_id)).status is Status.WAITING

        await send(store, 2, "signal:other")
        clock.move(seconds=KEEP)
        assert await send(store, 3, "signal:other") is Delivery.KEPT

    async def test_of_several_who_wait_the_first_is_answered(self, store: HistoryStore, clock: ManualClock) -> None:
        first = await parked(store, a_signal())
        clock.move(seconds=1)
        second = await parked(store, a_signal("other"))

        await send(store, 1)
        assert [(await get(store, one)).status for one in (first, second)] == [Status.ACCEPTED, Status.WAITING]
        await send(store, 2)
        assert (await get(store, second)).waits[0].answer == 2

    async def test_a_step_is_answered_once(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        address = step_address(execution_id, "confirm")
        await store.park(await hold_of(store, execution_id), [NewWait("confirm", WaitKind.CALLBACK, address)])

        sent = await asyncio.gather(*(send(store, n, address) for n in range(3)))

        assert sorted(sent) == [Delivery.DELIVERED, Delivery.KNOWN, Delivery.KNOWN]
        await begun(store, execution_id)
        assert await send(store, 4, address) is Delivery.KNOWN
        wait = await store.wait_at(address)
        assert wait is not None
        assert (wait.answered, wait.answer) == (True, sent.index(Delivery.DELIVERED))

    async def test_what_is_due_wakes_without_an_answer(self, store: HistoryStore, clock: ManualClock) -> None:
        timer = await parked(store, a_timer())
        signal = await parked(store, a_signal(due_at=T0 + HOUR), a_timer("later"))
        never = await parked(store, a_signal(address=signal_address("never")))
        clock.move(seconds=3599)
        assert await store.wake(limit=10) == 0
        clock.move(seconds=1)

        assert await store.wake(limit=10) == 3

        assert [(await get(store, one)).status for one in (timer, signal, never)] == [
            Status.ACCEPTED,
            Status.ACCEPTED,
            Status.WAITING,
        ]
        assert [(wait.ended_at, wait.answered) for wait in (await get(store, timer)).waits] == [(T0 + HOUR, False)]
        assert await store.wake(limit=10) == 0
        assert await send(store) is Delivery.KEPT, "it came too late"

    async def test_a_call_wakes_no_more_than_it_is_asked_to(self, store: HistoryStore, clock: ManualClock) -> None:
        for _ in range(3):
            await parked(store, a_timer())
        clock.move(hours=1)

        assert [await store.wake(limit=2) for _ in range(3)] == [2, 1, 0]

    async def test_one_end_of_several_waits_wakes_it_and_the_others_stay(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        waits = [a_signal(), a_timer()]
        execution_id = await parked(store, *waits)
        await send(store, 1)
        await begun(store, execution_id)
        clock.move(minutes=1)

        assert await store.park(await hold_of(store, execution_id), waits[1:])

        waiting = await get(store, execution_id)
        assert waiting.status is Status.WAITING
        assert [(wait.path, wait.begun_at, wait.due_at) for wait in waiting.waits if wait.ended_at is None] == [
            ("pause", T0, T0 + HOUR)
        ]

    async def test_a_wait_that_ends_while_others_run_is_not_missed(self, store: HistoryStore) -> None:
        waits = [a_signal(), a_signal("second", signal_address("second"))]
        execution_id = await parked(store, *waits)
        await send(store, 1)
        await begun(store, execution_id)
        assert await send(store, 2, signal_address("second")) is Delivery.DELIVERED
        assert (await get(store, execution_id)).status is Status.RUNNING

        await store.park(await hold_of(store, execution_id), waits[1:])

        assert (await get(store, execution_id)).status is Status.ACCEPTED

    async def test_only_who_runs_it_parks_it(self, store: HistoryStore) -> None:
        execution_id = await running(store, lease=-1)
        lost = await hold_of(store, execution_id)
        await begun(store, execution_id, owner="host/2")

        assert await store.park(lost, [a_timer()]) is False
        assert (await get(store, execution_id)).waits == ()

        await finish(store, execution_id, Status.SUCCEEDED)
        assert await store.park(await hold_of(store, execution_id), [a_timer()]) is False

    @pytest.mark.parametrize("when", ["before", "while it waits"])
    async def test_what_waits_can_be_cancelled(self, store: HistoryStore, when: str) -> None:
        execution_id = await running(store, flow_run_id="run-1")
        await save(store, execution_id, a_step("paid", Status.RUNNING))
        if when == "before":
            await store.request_cancel(execution_id, by="api", reason="wrong")
        await store.park(await hold_of(store, execution_id), [a_signal()])
        if when == "before":
            assert (await begun(store, execution_id)).cancel_requested == {"by": "api", "reason": "wrong"}
            return

        cancelled = await store.request_cancel(execution_id, by="api", reason="wrong")

        assert isinstance(cancelled, Execution)
        assert (cancelled.status, cancelled.cancel_requested["reason"]) == (Status.CANCELLED, "wrong")
        ended = await get(store, execution_id)
        assert [step.status for step in ended.steps] == [Status.CANCELLED]
        assert ended.parked_at is None
        assert all(wait.ended_at and not wait.answered for wait in ended.waits)
        assert await send(store) is Delivery.KEPT

    async def test_an_execution_that_has_ended_waits_for_nothing(self, store: HistoryStore) -> None:
        execution_id = await parked(store, a_signal(), a_timer())
        await store.finish(await hold_of(store, execution_id), Status.CANCELLED)

        assert await store.open_waits(WaitKind.SIGNAL, limit=10) == []
        assert await send(store) is Delivery.KEPT

    async def test_open_waits_of_a_kind_are_listed_oldest_first(self, store: HistoryStore, clock: ManualClock) -> None:
        made = []
        for n in range(3):
            wait = NewWait("ask", WaitKind.APPROVAL, step_address(str(n), "ask"), document={"message": n})
            made.append(await parked(store, wait, a_timer()))
            clock.move(seconds=1)
        await send(store, {"approved": True}, step_address("1", "ask"))

        found = await store.open_waits(WaitKind.APPROVAL, limit=10)

        assert [(wait.execution_id, wait.document) for wait in found] == [
            (made[0], {"message": 0}),
            (made[2], {"message": 2}),
        ]
        assert len(await store.open_waits(WaitKind.APPROVAL, limit=1)) == 1

    # Called executions

    @pytest.mark.parametrize("first", ["the caller waits", "the called one ends"])
    async def test_the_end_of_a_called_execution_answers_the_step_that_called_it(
        self, store: HistoryStore, first: str
    ) -> None:
        parent = await running(store)
        child = await running(store, parent_id=parent, parent_path="sub", depth=1)
        wait = NewWait("sub", WaitKind.CALL, step_address(parent, "sub"))
        if first == "the called one ends":
            await finish(store, child, Status.FAILED, error={"code": "x", "message": "y"})
        await store.park(await hold_of(store, parent), [wait])
        if first == "the caller waits":
            assert (await get(store, parent)).status is Status.WAITING
            await finish(store, child, Status.FAILED, error={"code": "x", "message": "y"})

        woken = await get(store, parent)
        assert woken.status is Status.ACCEPTED
        assert woken.waits[0].answer == {"execution_id": child, "status": "failed"}
        assert ((await get(store, child)).parent_path, (await get(store, child)).depth) == ("sub", 1)

    async def test_a_called_execution_that_is_cancelled_answers_too(self, store: HistoryStore) -> None:
        parent = await running(store)
        child = await accepted(store, parent_id=parent, parent_path="sub")
        await store.park(await hold_of(store, parent), [NewWait("sub", WaitKind.CALL, step_address(parent, "sub"))])

        await store.request_cancel(child, by="api", reason="")

        assert (await get(store, parent)).waits[0].answer == {"execution_id": child, "status": "cancelled"}


class KeyedWaitsSuite:
    """What waits outside keeps its keys, and holds nothing of theirs meanwhile."""

    OF = "event.body.customer"
    A = Key.made("concurrency", OF, "a", "customer=a")
    TURN = Key.made("throttle", "", "")

    async def declare(self, store: HistoryStore, *, overflow: str = "wait", **rules: Any) -> None:
        by_key = {"limit": 1, "key": self.OF, "overflow": overflow}
        await store.publish(a_version(declaration={"concurrency": [{"limit": 5}, by_key], **rules}))

    async def test_one_that_waits_outside_leaves_its_key_to_another(self, store: HistoryStore) -> None:
        await self.declare(store)
        first = await parked(store, a_signal(), keys=[self.A])
        second = await accepted(store, keys=[self.A], accepted_at=T0 + SECOND)
        assert await admitted(store) == [second]

        await send(store)
        assert await admitted(store) == []
        assert (await get(store, first)).waiting_for == "concurrency customer=a"
        await begun(store, second)
        await finish(store, second, Status.SUCCEEDED)
        assert await admitted(store) == [first]

    async def test_one_that_is_woken_uses_no_second_turn(self, store: HistoryStore) -> None:
        await self.declare(store, throttle={"limit": 1, "per": 600})
        first = await parked(store, a_signal(), keys=[self.TURN])
        later = await accepted(store, keys=[self.TURN], accepted_at=T0 + SECOND)
        assert await admitted(store) == []

        await send(store)
        assert await admitted(store) == [first]
        assert (await get(store, later)).waiting_for == "throttle"

    @pytest.mark.parametrize("overflow", ["cancel", "latest", "replace"])
    async def test_one_that_is_woken_is_not_ended_for_what_came_later(self, store: HistoryStore, overflow: str) -> None:
        await self.declare(store, overflow=overflow)
        first = await parked(store, a_signal(), keys=[self.A])
        second = await accepted(store, keys=[self.A], accepted_at=T0 + SECOND)
        assert await admitted(store) == [second]
        await send(store)
        await accepted(store, keys=[self.A], accepted_at=T0 + 2 * SECOND)
        await accepted(store, keys=[self.A], accepted_at=T0 + 3 * SECOND)
        await admitted(store)

        assert (await get(store, first)).status is Status.ACCEPTED

    async def test_one_that_is_woken_is_not_gathered_again(self, store: HistoryStore) -> None:
        debounced = Key.made("debounce", "", "")
        await store.publish(a_version(declaration={"debounce": {"quiet": 10}}))
        first = await accepted(store, keys=[debounced])
        await admitted(store)
        await store.publish(a_version("v2", declaration={}))
        await begun(store, first)
        assert await store.park(await hold_of(store, first), [a_signal()])
        await store.publish(a_version("v3", declaration={"debounce": {"quiet": 10}}))

        await send(store)
        assert await admitted(store) == [first]
