"""What every `HistoryStore` does about keys: limits by key, throttle, debounce, batch, priority."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from store_builders import (
    MINUTE,
    SECOND,
    T0,
    a_version,
    accepted,
    begin,
    begun,
    ended,
    finish,
    get,
    hold_of,
    running,
)
from store_builders import (
    ids as ids_of,
)

from flows.history import Admitted, HistoryStore, Key, Refusal, Status
from flows.history.documents import from_document
from foundation.clock import ManualClock

CUSTOMER = "event.body.customer"


async def publish(store: HistoryStore, version: str = "v1", *, workflow: str = "orders", **declared: Any) -> None:
    await store.publish(a_version(version, workflow=workflow, declaration=declared))


def by_customer(limit: int = 1, overflow: str = "wait", *, whole: int = 10) -> list[dict[str, Any]]:
    return [{"limit": whole}, {"limit": limit, "key": CUSTOMER, "overflow": overflow}]


def key(rule: Any, customer: Any, of: str = CUSTOMER) -> Key:
    return Key.made(rule, of, str(customer), f"customer={customer}" if of else "")


class Arriving:
    """Events of customers, one a second."""

    def __init__(self, store: HistoryStore, rule: str = "concurrency", of: str = CUSTOMER) -> None:
        self.store, self.rule, self.of, self.count = store, rule, of, 0

    async def __call__(self, *customers: Any, **values: Any) -> list[str]:
        ids = []
        for customer in customers:
            self.count += 1
            new = {"keys": [key(self.rule, customer, self.of)], "accepted_at": T0 + SECOND * self.count}
            new["event"] = {"id": f"event-{self.count}", "body": {"customer": customer}}
            ids.append(await accepted(self.store, **new | values))
        return ids


async def end(store: HistoryStore, *ids: str) -> None:
    for execution_id in ids:
        await begun(store, execution_id)
        await finish(store, execution_id, Status.SUCCEEDED)


async def statuses(store: HistoryStore, ids: list[str]) -> list[str]:
    return [(await get(store, execution_id)).status.value for execution_id in ids]


async def admitted(store: HistoryStore, *, limit: int = 100) -> list[str]:
    """Whom it admits; they are not returned a second time, however far a test moves its clock."""
    return ids_of(await store.admit(limit=limit, claim=86_400))


async def due(store: HistoryStore) -> float | None:
    result = await store.admit(limit=100, claim=86_400)
    assert isinstance(result, Admitted)
    assert list(result) == []
    return result.due


class LimitByKeySuite:
    async def test_a_key_has_no_more_admitted_than_its_limit(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(2))
        a1, a2, a3, b1 = await Arriving(store)("a", "a", "a", "b")

        assert await admitted(store) == [a1, a2, b1]
        assert await admitted(store) == []
        await end(store, a2)
        assert await admitted(store) == [a3]

    async def test_what_waits_says_for_what(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, whole=2))
        one, two, three, four = await Arriving(store)("a", "a", "b", "c")
        await admitted(store)

        waits = [(await get(store, one)).waiting_for for one in (one, two, three, four)]
        assert waits == [None, "concurrency customer=a", None, "concurrency"]
        listed = {one.id: one.waiting_for for one in (await store.executions()).items}
        assert listed == dict(zip((one, two, three, four), waits, strict=True))

    async def test_a_blocked_key_hides_no_other(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer())
        full = await Arriving(store)(*["a"] * 300)
        (other,) = await Arriving(store)("b", accepted_at=T0 + MINUTE * 10)

        assert await admitted(store, limit=5) == [full[0], other]
        assert await admitted(store, limit=5) == []
        await end(store, full[0])
        assert await admitted(store, limit=5) == [full[1]]

    async def test_within_a_key_and_between_keys_the_oldest_go_first(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, whole=1))
        a1, a2, b1, a3 = await Arriving(store)("a", "a", "b", "a")

        order = []
        for _ in range(4):
            (execution_id,) = await admitted(store)
            order.append(execution_id)
            await end(store, execution_id)

        assert order == [a1, a2, b1, a3]

    async def test_of_several_limits_all_hold(self, store: HistoryStore) -> None:
        region = "event.body.region"
        limits = [{"limit": 10}, {"limit": 1, "key": CUSTOMER}, {"limit": 2, "key": region}]
        await publish(store, concurrency=limits)

        async def arrive(customer: str, where: str, second: int) -> str:
            keys = [key("concurrency", customer), key("concurrency", where, region)]
            return await accepted(store, keys=keys, accepted_at=T0 + SECOND * second)

        a1, a2 = await arrive("a", "eu", 1), await arrive("a", "us", 2)
        b1, c1, d1 = await arrive("b", "eu", 3), await arrive("c", "eu", 4), await arrive("d", "us", 5)

        assert await admitted(store) == [a1, b1, d1]
        await end(store, a1)
        assert await admitted(store) == [a2, c1]

    async def test_the_limit_of_the_whole_workflow_holds_too(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, whole=2))
        one, two, three = await Arriving(store)("a", "b", "c")

        assert await admitted(store) == [one, two]
        await end(store, one)
        assert await admitted(store) == [three]

    async def test_an_execution_without_a_key_counts_for_the_whole_workflow_alone(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer())
        plain = [await accepted(store) for _ in range(3)]

        assert sorted(await admitted(store)) == sorted(plain)

    async def test_one_that_begins_unadmitted_needs_room_for_its_key(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer())
        one, two, three = await Arriving(store)("a", "a", "b")
        await begun(store, one, flow_run_id="run-1")

        assert await begin(store, two, flow_run_id="run-2") is Refusal.FULL
        await begun(store, three, flow_run_id="run-3")
        assert (await get(store, two)).flow_run_id == "run-2"
        await finish(store, one, Status.SUCCEEDED)
        assert [execution.flow_run_id for execution in await store.admit(limit=9, claim=9)] == ["run-2"]

    async def test_begun_all_at_once_no_more_begin_than_the_limit_of_their_key(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(2))
        ids = await Arriving(store)(*"aaaabbbb")

        results = await asyncio.gather(*(begin(store, execution_id) for execution_id in ids))

        assert results.count(Refusal.FULL) == 4

    async def test_whatever_it_does_meanwhile_it_keeps_its_keys(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer())
        one, two = await Arriving(store)("a", "a")
        assert await admitted(store) == [one]
        await begun(store, one)
        await store.requeue(await hold_of(store, one))
        await store.undispatch(one)

        assert await admitted(store) == [one]
        await store.request_cancel(one, by="api", reason="")
        assert await admitted(store) == [two]

    async def test_a_deploy_with_another_limit_holds_for_those_that_wait(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1))
        one, two, three = await Arriving(store)("a", "a", "a")
        assert await admitted(store) == [one]

        await publish(store, "v2", concurrency=by_customer(2))
        assert await admitted(store) == [two]
        await publish(store, "v3", concurrency={"limit": 10})
        assert await admitted(store) == [three]

    async def test_keys_without_a_rule_hold_nothing(self, store: HistoryStore) -> None:
        await publish(store)
        keys = [key(rule, "a") for rule in ("concurrency", "throttle", "debounce", "batch")]
        ids = [await accepted(store, keys=keys, accepted_at=T0 + SECOND * n) for n in range(3)]
        unpublished = await accepted(store, workflow="unpublished", keys=keys, accepted_at=T0 + MINUTE)

        assert sorted(await admitted(store)) == sorted([*ids, unpublished])


class OverflowSuite:
    async def test_cancel_ends_what_comes_beyond_the_limit_of_its_key(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, "cancel"))
        a1, a2, b1 = await Arriving(store)("a", "a", "b")

        assert await admitted(store) == [a1, b1]

        over = await get(store, a2)
        message = "cancelled: the limit of 1 executions at once was reached (concurrency customer=a)"
        assert (over.status, over.error) == (
            Status.CANCELLED,
            {"code": "cancelled", "message": message, "step": None},
        )

    async def test_cancel_does_not_end_what_waits_for_the_whole_workflow(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, "cancel", whole=1))
        arrive = Arriving(store)
        a1, b1, b2 = await arrive("a", "b", "b")
        assert await admitted(store) == [a1]

        (b3,) = await arrive("b")
        assert await admitted(store) == []
        assert await statuses(store, [b1, b2, b3]) == ["accepted", "cancelled", "cancelled"]
        await end(store, a1)
        assert await admitted(store) == [b1]

    async def test_latest_keeps_the_newest_of_those_that_wait(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, "latest"))
        arrive = Arriving(store)
        (a1,) = await arrive("a")
        assert await admitted(store) == [a1]

        a2, a3, b1, a4 = await arrive("a", "a", "b", "a")
        assert await admitted(store) == [b1]

        assert await statuses(store, [a1, a2, a3, a4]) == ["accepted", "skipped", "skipped", "accepted"]
        message = f"execution {a4} runs instead (concurrency customer=a)"
        error = {"code": "superseded", "message": message, "step": None, "execution_id": a4}
        assert (await get(store, a2)).error == error
        await end(store, a1)
        assert await admitted(store) == [a4]

    async def test_replace_cancels_those_that_run_and_waits_for_their_end(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, "replace"))
        arrive = Arriving(store)
        (a1,) = await arrive("a")
        await admitted(store)
        held = await begun(store, a1, flow_run_id="run-1")

        a2, a3 = await arrive("a", "a")
        assert await admitted(store) == []

        reason = f"execution {a3} runs instead (concurrency customer=a)"
        first = await get(store, a1)
        assert (first.status, first.cancel_requested) == (
            Status.RUNNING,
            {"by": "its workflow", "reason": reason},
        )
        assert (await store.renew([held.hold], lease=60))[a1] == first.cancel_requested
        assert await statuses(store, [a2, a3]) == ["cancelled", "accepted"]
        await finish(store, a1, Status.CANCELLED)
        assert await admitted(store) == [a3]

    async def test_replace_ends_at_once_what_was_admitted_and_not_handed_over(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, "replace"))
        arrive = Arriving(store)
        (a1,) = await arrive("a")
        await admitted(store)
        (a2,) = await arrive("a")

        assert [*await admitted(store), *await admitted(store)] == [a2]
        assert await statuses(store, [a1]) == ["cancelled"]

    @pytest.mark.parametrize(("overflow", "left"), [("latest", "accepted"), ("replace", "cancelled")])
    async def test_it_holds_for_the_whole_workflow_without_a_key(
        self, store: HistoryStore, overflow: str, left: str
    ) -> None:
        await publish(store, concurrency={"limit": 1, "overflow": overflow})
        arrive = Arriving(store, of="")
        (one,) = await arrive("")
        await admitted(store)
        _two, three = await arrive("", "")
        await admitted(store)

        assert await statuses(store, [one]) == [left]
        assert (await get(store, three)).status is Status.ACCEPTED

    async def test_one_that_begins_unadmitted_beyond_its_limit_is_cancelled(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, "cancel"))
        arrive = Arriving(store)
        one, two = await arrive("a", "a")
        await begun(store, one)

        assert await begin(store, two, flow_run_id="run-2") is Refusal.ENDED
        assert await statuses(store, [two]) == ["cancelled"]


class ThrottleSuite:
    async def test_starts_come_at_regular_intervals(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, throttle={"limit": 6, "per": 60})
        one, two, three = await Arriving(store, "throttle", "")("", "", "")

        assert await admitted(store) == [one]
        assert await due(store) == 10
        assert (await get(store, two)).waiting_for == "throttle"
        clock.move(seconds=9)
        assert await due(store) == 1
        clock.move(seconds=1)
        assert await admitted(store) == [two]
        clock.move(seconds=10)
        assert await admitted(store) == [three]

    async def test_a_burst_starts_at_once_after_a_pause(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, throttle={"limit": 6, "per": 60, "burst": 3})
        arrive = Arriving(store, "throttle", "")
        ids = await arrive(*[""] * 8)

        assert await admitted(store) == ids[:3]
        clock.move(seconds=20)
        assert await admitted(store) == ids[3:5]
        clock.move(minutes=10)
        assert await admitted(store) == ids[5:8]

    async def test_each_key_has_its_own_turns(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, throttle={"limit": 1, "per": 10, "key": CUSTOMER})
        a1, a2, b1, b2 = await Arriving(store, "throttle")("a", "a", "b", "b")

        assert await admitted(store) == [a1, b1]
        assert (await get(store, a2)).waiting_for == "throttle customer=a"
        clock.move(seconds=10)
        assert await admitted(store) == [a2, b2]

    async def test_what_is_not_admitted_uses_no_turn(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, throttle={"limit": 1, "per": 10, "burst": 2}, concurrency={"limit": 1})
        one, two, three = await Arriving(store, "throttle", "")("", "", "")

        assert await admitted(store) == [one]
        assert await due(store) is None, "there is no room"
        await end(store, one)
        assert await admitted(store) == [two]
        await end(store, two)
        assert await due(store) == 10
        clock.move(seconds=10)
        assert await admitted(store) == [three]

    async def test_of_two_workflows_that_share_a_call_each_uses_its_own_turns(self, store: HistoryStore) -> None:
        for workflow in ("one", "two"):
            await publish(store, workflow=workflow, throttle={"limit": 1, "per": 10, "burst": 3})
        arrive = Arriving(store, "throttle", "")
        one = await arrive("", "", "", workflow="one")
        two = await arrive("", "", "", workflow="two")

        assert await admitted(store, limit=3) == [one[0], two[0], one[1]]
        assert await admitted(store) == [one[2], two[1], two[2]]

    async def test_one_that_begins_unadmitted_takes_a_turn(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, throttle={"limit": 1, "per": 10})
        one, two = await Arriving(store, "throttle", "")("", "")

        await begun(store, one)
        assert await begin(store, two) is Refusal.FULL
        assert await due(store) == 10
        clock.move(seconds=10)
        assert await admitted(store) == [two]

    async def test_beside_a_limit_both_hold(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, throttle={"limit": 1, "per": 10}, concurrency=by_customer())

        async def arrive(customer: str, second: int) -> str:
            keys = [key("concurrency", customer), key("throttle", "", "")]
            return await accepted(store, keys=keys, accepted_at=T0 + SECOND * second)

        a1, a2, b1 = await arrive("a", 1), await arrive("a", 2), await arrive("b", 3)
        assert await admitted(store) == [a1]
        clock.move(seconds=10)
        assert await admitted(store) == [b1]
        await end(store, a1)
        assert await admitted(store) == []
        clock.move(seconds=10)
        assert await admitted(store) == [a2]


class DebounceSuite:
    async def test_the_last_event_runs_when_no_further_one_comes(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, debounce={"quiet": 10, "key": CUSTOMER})
        arrive = Arriving(store, "debounce")
        (a1,) = await arrive("a")
        assert await due(store) == 10
        assert (await get(store, a1)).waiting_for == "debounce customer=a"
        clock.move(seconds=9)
        a2, b1 = await arrive("a", "b")
        assert await due(store) == 10

        clock.move(seconds=10)
        assert await admitted(store) == [a2, b1]

        skipped = await get(store, a1)
        message = f"execution {a2} runs instead (debounce customer=a)"
        error = {"code": "superseded", "message": message, "step": None, "execution_id": a2}
        assert (skipped.status, skipped.error, skipped.admitted_at) == (Status.SKIPPED, error, None)

    async def test_it_runs_at_last_however_many_come(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, debounce={"quiet": 10, "at_most": 25})
        arrive, ids = Arriving(store, "debounce", ""), list[str]()
        for _ in range(4):
            ids += await arrive("")
            assert await admitted(store) == []
            clock.move(seconds=7)

        assert await admitted(store) == ids[-1:]
        (later,) = await arrive("")
        assert await due(store) == 10
        clock.move(seconds=10)
        assert await admitted(store) == [later]

    async def test_of_very_many_events_one_runs_and_all_others_name_it(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await publish(store, debounce={"quiet": 10})
        ids = await Arriving(store, "debounce", "")(*[""] * 1_050)
        while await due(store) == 0:
            pass
        clock.move(seconds=10)

        assert await admitted(store) == ids[-1:]
        while (await store.admit(limit=100, claim=86_400)).due == 0:
            pass

        assert await store.backlog() == {"orders": 1}
        assert {(await get(store, one)).error["execution_id"] for one in ids[:-1]} == {ids[-1]}
        assert await due(store) is None

    async def test_an_event_that_is_cancelled_leaves_the_others(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, debounce={"quiet": 10})
        one, two = await Arriving(store, "debounce", "")("", "")
        await admitted(store)
        await store.request_cancel(two, by="api", reason="")
        clock.move(seconds=10)

        assert await admitted(store) == [one]

    async def test_one_that_begins_meanwhile_waits(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, debounce={"quiet": 10})
        one, two = await Arriving(store, "debounce", "")("", "")

        assert await begin(store, one, flow_run_id="run-1") is Refusal.FULL
        assert await begin(store, two, flow_run_id="run-2") is Refusal.FULL
        clock.move(seconds=10)
        assert await begin(store, one, flow_run_id="run-1") is Refusal.ENDED
        await begun(store, two, flow_run_id="run-2")

    async def test_the_one_that_is_left_keeps_to_the_limits(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, debounce={"quiet": 10}, concurrency={"limit": 1})
        await running(store)
        await Arriving(store, "debounce", "")("", "")
        await admitted(store)
        clock.move(seconds=10)

        assert await due(store) is None

    async def test_a_deploy_loses_no_event_that_waits(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, debounce={"quiet": 10})
        one, two = await Arriving(store, "debounce", "")("", "")
        await admitted(store)

        await publish(store, "v2", debounce={"quiet": 60})
        assert await due(store) == 60
        await publish(store, "v3")
        assert await admitted(store) == [one, two]


class BatchSuite:
    async def test_a_full_batch_is_one_execution(self, store: HistoryStore) -> None:
        await publish(store, batch={"size": 3, "within": 60, "key": CUSTOMER})
        arrive = Arriving(store, "batch")
        a1, a2, b1 = await arrive("a", "a", "b")
        assert await due(store) == 60
        assert (await get(store, a2)).waiting_for == "batch customer=a"
        a3, a4 = await arrive("a", "a")

        (execution,) = await store.admit(limit=100, claim=86_400)

        assert execution.id == a1
        event = (await get(store, a1)).event
        assert from_document(execution.event) == event
        assert (event["id"], [one["id"] for one in event["batch"]]) == ("event-1", ["event-1", "event-2", "event-4"])
        assert await statuses(store, [a2, a3, a4, b1]) == ["skipped", "skipped", "accepted", "accepted"]
        message = f"its event is in the batch of execution {a1} (batch customer=a)"
        error = {"code": "batched", "message": message, "step": None, "execution_id": a1}
        assert (await get(store, a3)).error == error

    async def test_one_that_is_not_full_runs_in_time(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, batch={"size": 3, "within": 60})
        arrive = Arriving(store, "batch", "")
        (one,) = await arrive("")
        await admitted(store)
        clock.move(seconds=50)
        (two,) = await arrive("")
        assert await due(store) == 10
        clock.move(seconds=10)

        assert await admitted(store) == [one]
        assert await statuses(store, [two]) == ["skipped"]
        assert await due(store) is None

    async def test_what_is_left_over_waits_for_more(self, store: HistoryStore, clock: ManualClock) -> None:
        await publish(store, batch={"size": 2, "within": 60}, concurrency={"limit": 10})
        ids = await Arriving(store, "batch", "")(*[""] * 5)

        assert await admitted(store) == [ids[0], ids[2]]
        assert await due(store) == 60
        clock.move(seconds=60)
        assert await admitted(store) == [ids[4]]
        assert [one["id"] for one in (await get(store, ids[4])).event["batch"]] == ["event-5"]

    async def test_large_events_are_whole_in_their_batch(self, store: HistoryStore) -> None:
        await publish(store, batch={"size": 2, "within": 60})
        bodies = ["x" * 300_000, "y" * 300_000]
        keys = [key("batch", "", "")]
        events = [{"id": f"event-{n}", "body": body} for n, body in enumerate(bodies)]
        ids = [
            await accepted(store, keys=keys, event=event, accepted_at=T0 + SECOND * n) for n, event in enumerate(events)
        ]

        assert await admitted(store) == ids[:1]
        assert (await get(store, ids[0])).event == {**events[0], "batch": events}

    async def test_the_limits_count_batches(self, store: HistoryStore) -> None:
        await publish(store, batch={"size": 2, "within": 60}, concurrency={"limit": 1})
        ids = await Arriving(store, "batch", "")(*[""] * 4)

        assert await admitted(store) == [ids[0]]
        assert (await get(store, ids[2])).waiting_for == "concurrency"
        await end(store, ids[0])
        assert await admitted(store) == [ids[2]]


class PrioritySuite:
    async def test_it_puts_ahead_by_so_many_seconds(self, store: HistoryStore) -> None:
        await publish(store, concurrency={"limit": 1})
        first, urgent, late = [
            await accepted(store, accepted_at=T0 + SECOND * at, priority=priority)
            for at, priority in ((0, 0), (30, 60), (1, -30.5))
        ]
        order = []
        for _ in range(3):
            (execution_id,) = await admitted(store)
            order.append(execution_id)
            await end(store, execution_id)

        assert order == [urgent, first, late]

    async def test_with_keys_too(self, store: HistoryStore) -> None:
        await publish(store, concurrency=by_customer(1, whole=1))
        arrive = Arriving(store)
        (a1,) = await arrive("a")
        await admitted(store)
        (a2,), (a3,), (b1,) = await arrive("a"), await arrive("a", priority=60), await arrive("b", priority=30)
        await end(store, a1)

        assert await admitted(store) == [a3]
        await end(store, a3)
        assert await admitted(store) == [b1]
        await end(store, b1)
        assert await admitted(store) == [a2]

    async def test_it_puts_ahead_of_no_other_workflow(self, store: HistoryStore) -> None:
        await publish(store, workflow="other", concurrency={"limit": 1})
        first = await accepted(store, workflow="other", accepted_at=T0)
        urgent = await accepted(store, accepted_at=T0 + SECOND, priority=600)

        assert await admitted(store, limit=2) == [first, urgent]


class FlowControlSuite(LimitByKeySuite, OverflowSuite, ThrottleSuite, DebounceSuite, BatchSuite, PrioritySuite):
    async def test_nothing_is_due_where_nothing_waits(self, store: HistoryStore) -> None:
        await publish(store, throttle={"limit": 1, "per": 10})
        assert await due(store) is None
        await ended(store)
        assert await due(store) is None
