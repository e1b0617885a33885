"""What every `HistoryStore` does. One suite, run on each of them: a subclass has the fixtures `clock` and `store`.

Its parts on admission and on holds are in files of their own. The clock stands for the database's clock, too.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from store_builders import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    a_step,
    a_version,
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
from store_suite_admission import AdmissionSuite
from store_suite_callers import CallersSuite
from store_suite_holds import HoldSuite

from flows.history import Accepted, Execution, HistoryStore, Hold, Limits, Refusal, Status, Trigger
from flows.history.documents import from_document
from foundation.clock import ManualClock
from foundation.errors import TooLarge

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "T0",
    "StoreSuite",
    "a_step",
    "a_version",
    "accepted",
    "admitted",
    "an_execution",
    "begin",
    "begun",
    "ended",
    "finish",
    "get",
    "hold_of",
    "ids",
    "running",
    "save",
]


class StoreSuite(AdmissionSuite, HoldSuite, CallersSuite):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(T0)

    # Workflows

    async def test_a_published_workflow_is_active_and_has_its_version(self, store: HistoryStore) -> None:
        version = a_version(description="Orders", tags=["sales", "eu"], declaration={"triggers": [{"path": "orders"}]})

        assert await store.publish(version) is True

        stored = replace(version, tags=("sales", "eu"), created_at=T0)
        workflow = await store.workflow("orders")
        assert workflow is not None
        assert (workflow.name, workflow.active, workflow.current) == ("orders", True, stored)
        assert (workflow.deployment_id, workflow.updated_at) == (None, T0)
        assert await store.version("orders", "v1") == stored

    async def test_publishing_the_current_version_again_changes_nothing(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await store.publish(a_version())
        before = await store.workflow("orders")
        clock.move(hours=1)

        assert await store.publish(a_version()) is False
        assert await store.workflow("orders") == before

    async def test_publishing_an_older_version_again_makes_it_the_current_one(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await store.publish(a_version("v1"))
        await store.publish(a_version("v2", source="name: orders # 2"))
        clock.move(hours=1)

        assert await store.publish(a_version("v1")) is True

        workflow = await store.workflow("orders")
        assert workflow is not None
        assert (workflow.current.version, workflow.current.created_at) == ("v1", T0)
        assert workflow.updated_at == T0 + HOUR
        newer = await store.version("orders", "v2")
        assert newer is not None
        assert newer.source == "name: orders # 2"

    async def test_publishing_keeps_a_workflow_inactive_and_its_deployment(self, store: HistoryStore) -> None:
        await store.publish(a_version("v1"))
        await store.set_active("orders", False)
        await store.set_deployment("orders", "deployment-1")

        await store.publish(a_version("v2"))

        workflow = await store.workflow("orders")
        assert workflow is not None
        assert (workflow.active, workflow.deployment_id) == (False, "deployment-1")

    async def test_a_workflow_is_deactivated_and_activated(self, store: HistoryStore, clock: ManualClock) -> None:
        await store.publish(a_version())
        clock.move(hours=1)

        assert await store.set_active("orders", False) is True
        inactive = await store.workflow("orders")
        assert await store.set_active("orders", True) is True
        active = await store.workflow("orders")

        assert inactive is not None
        assert active is not None
        assert (inactive.active, inactive.updated_at, active.active) == (False, T0 + HOUR, True)

    async def test_workflows_are_listed_by_name(self, store: HistoryStore) -> None:
        for name in ("b", "a", "c"):
            await store.publish(a_version(workflow=name))

        assert [workflow.name for workflow in await store.workflows()] == ["a", "b", "c"]

    async def test_a_workflow_has_the_limit_that_its_version_declares(self, store: HistoryStore) -> None:
        await store.publish(a_version("v1", workflow="plain"))
        await store.publish(a_version("v1", declaration={"concurrency": {"limit": 3, "overflow": "cancel"}}))
        published = await store.workflow("orders")
        await store.set_limit("orders", 7)
        await store.publish(a_version("v1", declaration={"concurrency": {"limit": 3, "overflow": "cancel"}}))
        changed = await store.workflow("orders")
        await store.publish(a_version("v2", declaration={"concurrency": {"limit": 4, "overflow": "wait"}}))

        listed = [(one.name, one.concurrency_limit, one.overflow) for one in await store.workflows()]
        assert published is not None
        assert changed is not None
        assert (published.concurrency_limit, published.overflow) == (3, "cancel")
        assert (changed.concurrency_limit, changed.overflow) == (7, "cancel")
        assert listed == [("orders", 4, "wait"), ("plain", 10, "wait")]

    async def test_a_limit_is_not_negative(self, store: HistoryStore) -> None:
        await store.publish(a_version())

        with pytest.raises(ValueError, match="-1 is no limit"):
            await store.set_limit("orders", -1)

    async def test_a_deployment_is_forgotten(self, store: HistoryStore) -> None:
        await store.publish(a_version())
        await store.set_deployment("orders", "deployment-1")

        await store.set_deployment("orders", None)

        workflow = await store.workflow("orders")
        assert workflow is not None
        assert workflow.deployment_id is None

    async def test_an_unknown_workflow_is_nothing(self, store: HistoryStore) -> None:
        assert await store.workflow("orders") is None
        assert await store.version("orders", "v1") is None
        assert await store.set_active("orders", False) is False
        await store.set_limit("orders", 1)
        assert await store.workflows() == []

    # Accept

    async def test_an_accepted_execution_is_stored_whole(self, store: HistoryStore) -> None:
        new = an_execution(replay_of="first", parent_id="parent", trigger=Trigger.REPLAY)

        assert await store.accept([new]) == [Accepted(new.id, duplicate=False)]

        assert await store.execution(new.id) == Execution(
            id=new.id,
            workflow="orders",
            version="v1",
            trigger=Trigger.REPLAY,
            status=Status.ACCEPTED,
            event=new.event,
            accepted_at=T0,
            replay_of="first",
            parent_id="parent",
        )

    async def test_answers_come_in_the_order_of_the_executions(self, store: HistoryStore) -> None:
        new = [
            an_execution(id=name, dedupe_keys=keys)
            for name, keys in [("c", ["k2"]), ("a", []), ("b", ["k1"]), ("d", ["k2"])]
        ]

        answers = await store.accept(new)

        assert answers == [Accepted("c", False), Accepted("a", False), Accepted("b", False), Accepted("c", True)]

    async def test_accepting_nothing_answers_nothing(self, store: HistoryStore) -> None:
        assert await store.accept([]) == []

    async def test_one_that_cannot_be_stored_stores_none(self, store: HistoryStore) -> None:
        good = an_execution(dedupe_keys=["k"])

        with pytest.raises(TypeError):
            await store.accept([good, an_execution(event={"not": object()})])

        assert await store.execution(good.id) is None
        assert await store.accept([good]) == [Accepted(good.id, False)]

    async def test_a_delivery_sent_again_is_answered_with_the_first_execution(self, store: HistoryStore) -> None:
        first, again = an_execution(dedupe_keys=["k"]), an_execution(dedupe_keys=["k"])
        await store.accept([first])

        assert await store.accept([again]) == [Accepted(first.id, duplicate=True)]
        assert await store.execution(again.id) is None
        assert await store.counts() == {Status.ACCEPTED: 1}

    async def test_the_same_delivery_twice_in_one_batch_makes_one_execution(self, store: HistoryStore) -> None:
        first, again = an_execution(dedupe_keys=["k"]), an_execution(dedupe_keys=["k"])

        assert await store.accept([first, again]) == [Accepted(first.id, False), Accepted(first.id, True)]
        assert await store.counts() == {Status.ACCEPTED: 1}

    async def test_the_same_delivery_many_times_at_once_makes_one_execution(self, store: HistoryStore) -> None:
        answers = await asyncio.gather(*(store.accept([an_execution(dedupe_keys=["k"])]) for _ in range(20)))

        flat = [answer for (answer,) in answers]
        assert len({answer.execution_id for answer in flat}) == 1
        assert [answer.duplicate for answer in flat].count(False) == 1
        assert await store.counts() == {Status.ACCEPTED: 1}

    async def test_deliveries_without_identity_are_never_duplicates(self, store: HistoryStore) -> None:
        answers = await store.accept([an_execution(), an_execution()])

        assert [answer.duplicate for answer in answers] == [False, False]

    async def test_a_dedupe_key_is_forgotten_when_its_time_is_over(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        first, early, late, later = (
            an_execution(dedupe_keys=["k"], dedupe_until=T0 + DAY * (n // 2 + 1)) for n in range(4)
        )
        await store.accept([first])

        clock.move(days=1, microseconds=-1)
        assert await store.accept([early]) == [Accepted(first.id, True)]
        clock.move(microseconds=1)
        assert await store.accept([late]) == [Accepted(late.id, False)]
        assert await store.accept([later]) == [Accepted(late.id, True)]

    async def test_any_one_known_key_makes_a_duplicate(self, store: HistoryStore) -> None:
        first = an_execution(dedupe_keys=["id", "hash"])
        await store.accept([first])

        others = [an_execution(dedupe_keys=keys) for keys in (["id", "other"], ["new", "hash"], ["hash"])]
        answers = [answer for other in others for answer in await store.accept([other])]

        assert answers == [Accepted(first.id, duplicate=True)] * 3
        assert await store.counts() == {Status.ACCEPTED: 1}

    async def test_a_duplicate_teaches_no_new_keys(self, store: HistoryStore) -> None:
        """Else whoever replays a delivery under a made-up id could have the real delivery of that id swallowed."""
        await accepted(store, dedupe_keys=["id-1", "hash-1"])
        await store.accept([an_execution(dedupe_keys=["id-2", "hash-1"])])

        real = an_execution(dedupe_keys=["id-2", "hash-2"])

        assert await store.accept([real]) == [Accepted(real.id, duplicate=False)]

    async def test_deliveries_that_share_one_of_two_keys_in_one_batch(self, store: HistoryStore) -> None:
        known = await accepted(store, dedupe_keys=["a"])
        one, two, three, four = (
            an_execution(dedupe_keys=keys) for keys in (["a", "b"], ["b", "c"], ["d", "c"], ["d", "e"])
        )

        answers = await store.accept([one, two, three, four])

        assert answers == [
            Accepted(known, True),  # and so it is not the first with b
            Accepted(two.id, False),
            Accepted(two.id, True),  # and so it is not the first with d
            Accepted(four.id, False),
        ]
        later = [await store.accept([an_execution(dedupe_keys=[key])]) for key in "abcde"]
        assert [answer.execution_id for (answer,) in later] == [known, two.id, two.id, four.id, four.id]

    async def test_keys_whose_time_is_over_are_taken_with_the_others(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await accepted(store, dedupe_keys=["old"], dedupe_until=T0 + SECOND)
        live = await accepted(store, dedupe_keys=["live"])
        clock.move(seconds=1)

        duplicate, first = an_execution(dedupe_keys=["old", "live"]), an_execution(dedupe_keys=["old", "new"])

        assert await store.accept([duplicate, first]) == [Accepted(live, True), Accepted(first.id, False)]
        assert await store.accept([an_execution(dedupe_keys=["new"])]) == [Accepted(first.id, True)]

    async def test_a_key_given_twice_counts_once(self, store: HistoryStore) -> None:
        new = an_execution(dedupe_keys=["k", "k"])

        assert await store.accept([new]) == [Accepted(new.id, False)]

    async def test_an_id_that_is_known_is_a_duplicate_of_itself(self, store: HistoryStore) -> None:
        first = an_execution()
        await store.accept([first])

        again = replace(first, event={"body": "other"})
        assert await store.accept([again, again]) == [Accepted(first.id, True)] * 2
        assert (await get(store, first.id)).event == first.event

    async def test_what_is_kept_is_not_the_callers_object(self, store: HistoryStore) -> None:
        event: dict[str, Any] = {"body": {"items": [1]}}
        execution_id = await accepted(store, event=event)

        event["body"]["items"].append(2)
        (await get(store, execution_id)).event["body"]["items"].append(3)

        assert (await get(store, execution_id)).event == {"body": {"items": [1]}}

    @pytest.mark.parametrize(
        "body",
        [
            "a\x00b",
            "\ud800",
            {"\x00": {"\udfff": "💥"}},
            12**400,
            [math.inf, -math.inf, 1e308, -0.0],
            json.loads("[" * 200 + "]" * 200),
            None,
            "",
        ],
        ids=["NUL", "lone surrogate", "in keys", "huge integer", "infinite", "deep", "null", "empty"],
    )
    async def test_any_json_comes_back_as_it_was(self, store: HistoryStore, body: Any) -> None:
        execution_id = await running(store, event={"body": body})
        await save(store, execution_id, a_step(output=body, error={"message": body}))
        outcome = {"output": body, "error": {"message": body}, "answer": {"body": body}}
        await finish(store, execution_id, Status.SUCCEEDED, **outcome)

        execution = await get(store, execution_id)

        assert (execution.event, execution.output, execution.error) == ({"body": body}, body, {"message": body})
        assert execution.answer == {"body": body}
        assert (execution.steps[0].output, execution.steps[0].error) == (body, {"message": body})

    async def test_nan_comes_back(self, store: HistoryStore) -> None:
        execution_id = await accepted(store, event={"body": json.loads("NaN")})

        assert math.isnan((await get(store, execution_id)).event["body"])

    @pytest.mark.parametrize("key", ["a\x00b", "\ud800", "k" * 100_000], ids=["NUL", "lone surrogate", "long"])
    async def test_a_dedupe_key_may_be_any_text(self, store: HistoryStore, key: str) -> None:
        first = an_execution(dedupe_keys=[key])

        await store.accept([first])

        assert await store.accept([an_execution(dedupe_keys=[key])]) == [Accepted(first.id, True)]

    @pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 100_000])
    async def test_asking_for_an_impossible_id_finds_nothing(self, store: HistoryStore, text: str) -> None:
        await accepted(store)

        assert await store.execution(text) is None
        assert await store.execution_of_flow_run(text) is None
        assert await store.workflow(text) is None
        assert (await store.executions(workflow=text)).items == []

    async def test_times_come_back_in_utc(self, store: HistoryStore) -> None:
        berlin = timezone(timedelta(hours=1))
        execution_id = await accepted(store, accepted_at=datetime(2026, 1, 1, 13, 30, 0, 123456, tzinfo=berlin))

        at = (await get(store, execution_id)).accepted_at

        assert at.isoformat() == "2026-01-01T12:30:00.123456+00:00"

    async def test_a_replay_takes_over_finished_steps(self, store: HistoryStore) -> None:
        taken = [a_step("one", output={"n": 1}, started_at=T0), a_step("two", output=2, started_at=T0 + SECOND)]
        execution_id = await accepted(store, trigger=Trigger.REPLAY, steps=taken)

        execution = await begun(store, execution_id)

        assert list(execution.steps) == taken

    # Backlog and dispatch

    async def test_the_backlog_counts_what_is_not_begun_by_workflow(self, store: HistoryStore) -> None:
        await accepted(store, workflow="a")
        await accepted(store, workflow="a", flow_run_id="run-1")
        await accepted(store, workflow="b")
        await running(store, workflow="b")
        await ended(store, workflow="c")

        assert await store.backlog() == {"a": 2, "b": 1}

    async def test_the_oldest_accepted_is_the_one_that_waits_longest(self, store: HistoryStore) -> None:
        assert await store.oldest_accepted() is None

        await accepted(store, accepted_at=T0 + MINUTE)
        await accepted(store, accepted_at=T0 + SECOND)
        await running(store, accepted_at=T0)

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

    # Running

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
        assert await store.save_step(Hold("unknown", "host/1", 1), a_step()) is False

    async def test_one_refused_write_does_not_fail_its_neighbours(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        hold = await hold_of(store, execution_id)

        *saved, _ = await asyncio.gather(
            store.save_step(hold, a_step("one")),
            store.save_step(replace(hold, run=2), a_step("two")),
            store.save_step(hold, a_step("three")),
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
        await store.save_step(hold, a_step(status=Status.RUNNING, started_at=T0))
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

    # Reading

    async def test_unknown_executions_are_nothing(self, store: HistoryStore) -> None:
        assert await store.execution("unknown") is None
        assert await store.execution_of_flow_run("unknown") is None
        assert await store.counts() == {}
        assert await store.backlog() == {}
        assert (await store.executions()).items == []

    async def test_those_who_wait_get_what_has_ended(self, store: HistoryStore) -> None:
        runs, over = await running(store), await running(store)
        await save(store, over, a_step())
        await finish(store, over, Status.FAILED, output=[1], error={"code": "x"}, answer={"status": 500})

        found = await store.finished([runs, over, "unknown"])

        whole = await get(store, over)
        assert found == {over: replace(whole, event=None, steps=())}
        assert (found[over].output, found[over].error, found[over].answer) == ([1], {"code": "x"}, {"status": 500})

    async def test_executions_are_found_by_their_flow_runs(self, store: HistoryStore) -> None:
        one, first = await accepted(store, flow_run_id="run-1"), await ended(store, Status.FAILED)
        await store.dispatched({first: "run-2"})
        retried = await accepted(store, flow_run_id="run-2", replay_of=first)

        found = await store.executions_of_flow_runs(["run-1", "run-2", "run-3"])

        assert {run: execution.id for run, execution in found.items()} == {"run-1": one, "run-2": retried}
        assert found["run-1"] == replace(await get(store, one), event=None)

    async def test_a_page_is_newest_first_and_light(self, store: HistoryStore) -> None:
        first, second = await accepted(store), await running(store)
        await save(store, second, a_step())
        await finish(store, second, Status.FAILED, output=[1], error={"code": "x"}, answer={"status": 500})

        page = await store.executions()

        whole = await get(store, second)
        assert ids(page.items) == [second, first]
        assert page.items[0] == replace(whole, event=None, output=None, answer=None, steps=())
        assert page.items[0].error == {"code": "x"}
        assert page.next_cursor is None

    async def test_pages_follow_each_other_whatever_comes_in_between(self, store: HistoryStore) -> None:
        old = [await accepted(store) for _ in range(5)]

        first = await store.executions(limit=2)
        await accepted(store)
        second = await store.executions(limit=2, cursor=first.next_cursor)
        await accepted(store)
        third = await store.executions(limit=2, cursor=second.next_cursor)

        assert ids([*first.items, *second.items, *third.items]) == old[::-1]
        assert third.next_cursor is None

    async def test_a_page_that_is_just_full_is_the_last_one(self, store: HistoryStore) -> None:
        for _ in range(2):
            await accepted(store)

        assert (await store.executions(limit=2)).next_cursor is None

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({"workflow": "a"}, ["3", "1"]),
            ({"status": Status.FAILED}, ["4", "3"]),
            ({"since": T0 + SECOND}, ["4", "3", "2"]),
            ({"workflow": "a", "status": Status.FAILED}, ["3"]),
            ({"workflow": "b", "cursor": "4"}, ["2"]),
            ({"workflow": "none"}, []),
        ],
        ids=str,
    )
    async def test_a_list_is_filtered(
        self, store: HistoryStore, filters: Mapping[str, Any], expected: Sequence[str]
    ) -> None:
        await accepted(store, id="1", workflow="a", accepted_at=T0)
        await accepted(store, id="2", workflow="b", accepted_at=T0 + SECOND)
        await ended(store, Status.FAILED, id="3", workflow="a", accepted_at=T0 + SECOND)
        await ended(store, Status.FAILED, id="4", workflow="b", accepted_at=T0 + MINUTE)

        assert ids((await store.executions(**filters)).items) == expected

    async def test_what_was_replayed_says_by_which_execution_last(self, store: HistoryStore) -> None:
        first = await ended(store, Status.FAILED)
        never = await ended(store, Status.FAILED)
        _, newest = [await accepted(store, replay_of=first, trigger=Trigger.REPLAY) for _ in range(2)]

        page = await store.executions(status=Status.FAILED)

        assert [(one.id, one.replayed_by) for one in page.items] == [(never, None), (first, newest)]
        assert (await get(store, first)).replayed_by == newest

    async def test_counts_are_by_status(self, store: HistoryStore) -> None:
        await accepted(store)
        await running(store)
        await ended(store, Status.FAILED)
        await ended(store, Status.FAILED)

        assert await store.counts() == {Status.ACCEPTED: 1, Status.RUNNING: 1, Status.FAILED: 2}

    # Keeping it small

    async def test_pruning_removes_what_ended_before_oldest_first(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        last, first, second = [await running(store) for _ in range(3)]
        for execution_id in (first, second, last):
            clock.move(hours=1)
            await finish(store, execution_id, Status.SUCCEEDED)
        kept = [await accepted(store), await running(store)]

        assert await store.prune(before=T0 + 3 * HOUR, limit=1) == 1
        assert await store.execution(first) is None
        assert await store.execution(second) is not None
        assert await store.prune(before=T0 + 3 * HOUR, limit=10) == 1
        assert await store.prune(before=T0 + 3 * HOUR, limit=10) == 0
        assert ids((await store.executions()).items) == [*kept[::-1], last]

    async def test_a_pruned_execution_leaves_nothing_behind(self, store: HistoryStore) -> None:
        execution_id = await running(store, event={"body": "secret"})
        await save(store, execution_id, a_step())
        await finish(store, execution_id, Status.SUCCEEDED)
        await store.prune(before=T0 + SECOND, limit=10)

        await store.accept([an_execution(id=execution_id, event={"body": "new"})])

        execution = await get(store, execution_id)
        assert (execution.status, execution.event, execution.steps) == (Status.ACCEPTED, {"body": "new"}, ())

    async def test_a_delivery_is_remembered_longer_than_its_execution(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        execution_id = await ended(store, dedupe_keys=["k"], dedupe_until=T0 + DAY)

        await store.prune(before=T0 + SECOND, limit=10)
        assert await store.accept([an_execution(dedupe_keys=["k"])]) == [Accepted(execution_id, True)]

        clock.move(days=1)
        assert (await store.accept([an_execution(dedupe_keys=["k"])]))[0].duplicate is False

    async def test_deliveries_are_forgotten_when_their_time_is_over(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        lifetimes = [SECOND, SECOND, SECOND, DAY, None]
        for number, lifetime in enumerate(lifetimes):
            await accepted(store, dedupe_keys=[f"k{number}"], dedupe_until=T0 + lifetime if lifetime else None)

        assert await store.forget_deliveries(limit=10) == 0
        clock.move(seconds=1)
        assert await store.forget_deliveries(limit=2) == 2
        assert await store.forget_deliveries(limit=2) == 1
        assert [(await store.accept([an_execution(dedupe_keys=[f"k{n}"])]))[0].duplicate for n in (3, 4)] == [
            True,
            True,
        ]

    async def test_the_newest_ends_have_a_last_one(self, store: HistoryStore, clock: ManualClock) -> None:
        second, first, third = [await running(store) for _ in range(3)]
        for execution_id in (first, second, third):
            clock.move(hours=1)
            await finish(store, execution_id, Status.SUCCEEDED)
        await running(store)

        assert await store.end_of_newest(1) == T0 + 3 * HOUR
        assert await store.end_of_newest(2) == T0 + 2 * HOUR
        assert await store.end_of_newest(3) is None

    # Large documents

    async def test_large_documents_come_back_wherever_they_are_read(self, store: HistoryStore) -> None:
        large = {"text": "x" * 300_000}
        new = an_execution(event={"body": large}, steps=[a_step("taken", output=large)])
        await store.accept([new])

        (handed_over,) = await store.admit(limit=1, claim=60)
        begun_ = await begun(store, new.id)
        await save(store, new.id, a_step("own", output=[large]))
        await finish(store, new.id, Status.SUCCEEDED, output=large, answer={"body": large})

        assert [begun_.event, begun_.steps[0].output] == [{"body": large}, large]
        assert handed_over.event is None  # what admission reads is bounded
        execution = await get(store, new.id)
        assert (execution.event, execution.output, execution.answer) == ({"body": large}, large, {"body": large})
        assert [step.output for step in execution.steps] == [large, [large]]
        over = (await store.finished([new.id]))[new.id]
        assert (over.output, over.answer) == (large, {"body": large})
        cancelled = await store.request_cancel(new.id, by="api", reason="")
        assert cancelled is not None
        assert (cancelled.output, cancelled.answer) == (large, {"body": large})

    async def test_a_large_document_stays_while_another_execution_has_it(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        large = {"body": "x" * 300_000}
        first = await ended(store, event=large)
        clock.move(hours=1)
        second = await ended(store, event=large)

        assert await store.prune(before=T0 + SECOND, limit=10) == 1

        assert await store.execution(first) is None
        assert (await get(store, second)).event == large
        assert await store.prune(before=T0 + DAY, limit=10) == 1
        third = await accepted(store, event=large)
        assert (await get(store, third)).event == large

    async def test_a_step_whose_output_is_too_large_is_refused(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        output = "x" * (Limits().output_bytes - 2)
        await save(store, execution_id, a_step("just", output=output))

        with pytest.raises(TooLarge, match=r"the output is 10485761 bytes .* the 10485760 that are kept"):
            await save(store, execution_id, a_step("over", output=output + "x"))

        assert [step.path for step in (await get(store, execution_id)).steps] == ["just"]

    @pytest.mark.parametrize("part", ["output", "answer"])
    async def test_an_execution_whose_end_is_too_large_does_not_end_with_it(
        self, store: HistoryStore, part: str
    ) -> None:
        execution_id = await running(store)

        with pytest.raises(TooLarge, match=f"the {part} is"):
            await finish(store, execution_id, Status.SUCCEEDED, **{part: "x" * Limits().output_bytes})

        assert (await get(store, execution_id)).status is Status.RUNNING

    async def test_versions_are_never_pruned(self, store: HistoryStore) -> None:
        await store.publish(a_version("v1"))
        await store.publish(a_version("v2"))
        await ended(store)

        await store.prune(before=T0 + DAY, limit=10)

        assert await store.version("orders", "v1") is not None
