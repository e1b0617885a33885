"""What every `HistoryStore` does. One suite, run on each of them: a subclass has the fixtures `clock` and `store`."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from uuid_utils import uuid7

from flows.history import (
    Accepted,
    Execution,
    HistoryStore,
    Limits,
    NewExecution,
    Status,
    StepExecution,
    Trigger,
    WorkflowVersion,
)
from foundation.clock import ManualClock
from foundation.errors import NotFound, TooLarge

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))


def an_execution(**values: Any) -> NewExecution:
    defaults: dict[str, Any] = {
        "id": str(uuid7()),
        "workflow": "orders",
        "version": "v1",
        "trigger": Trigger.WEBHOOK,
        "event": {"id": "event-1", "body": {"amount": 12}, "headers": {}, "query": {}},
        "accepted_at": T0,
    }
    return NewExecution(**defaults | values)


def a_step(step_id: str = "notify", status: Status = Status.SUCCEEDED, **values: Any) -> StepExecution:
    return StepExecution(step_id, "slack.post_message", status, **values)


def a_version(version: str = "v1", **values: Any) -> WorkflowVersion:
    defaults: dict[str, Any] = {
        "workflow": "orders",
        "language": "yaml",
        "source": "name: orders",
        "file": "orders.yaml",
    }
    return WorkflowVersion(version=version, **defaults | values)


async def accepted(store: HistoryStore, **values: Any) -> str:
    new = an_execution(**values)
    await store.accept([new])
    return new.id


async def begun(store: HistoryStore, execution_id: str, **values: Any) -> Execution | None:
    defaults: dict[str, Any] = {"flow_run_id": None, "owner": "host/1", "now": T0, "lease_until": T0 + MINUTE}
    return await store.begin(execution_id, **defaults | values)


async def running(
    store: HistoryStore, *, owner: str = "host/1", lease_until: datetime = T0 + MINUTE, **new: Any
) -> str:
    execution_id = await accepted(store, **new)
    assert await begun(store, execution_id, owner=owner, lease_until=lease_until)
    return execution_id


async def ended(store: HistoryStore, status: Status = Status.SUCCEEDED, *, at: datetime = T0, **new: Any) -> str:
    execution_id = await running(store, **new)
    assert await store.finish(execution_id, status, now=at)
    return execution_id


async def claimed(store: HistoryStore, *, now: datetime = T0, limit: int = 100) -> list[str]:
    return ids(await store.claim(limit=limit, now=now, until=now + MINUTE))


async def get(store: HistoryStore, execution_id: str) -> Execution:
    execution = await store.execution(execution_id)
    assert execution is not None
    return execution


def ids(executions: Sequence[Execution]) -> list[str]:
    return [execution.id for execution in executions]


class StoreSuite:
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

    async def test_an_unknown_workflow_is_nothing(self, store: HistoryStore) -> None:
        assert await store.workflow("orders") is None
        assert await store.version("orders", "v1") is None
        assert await store.set_active("orders", False) is False
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
            an_execution(id=name, dedupe_key=key) for name, key in [("c", "k2"), ("a", None), ("b", "k1"), ("d", "k2")]
        ]

        answers = await store.accept(new)

        assert answers == [Accepted("c", False), Accepted("a", False), Accepted("b", False), Accepted("c", True)]

    async def test_accepting_nothing_answers_nothing(self, store: HistoryStore) -> None:
        assert await store.accept([]) == []

    async def test_one_that_cannot_be_stored_stores_none(self, store: HistoryStore) -> None:
        good = an_execution(dedupe_key="k")

        with pytest.raises(TypeError):
            await store.accept([good, an_execution(event={"not": object()})])

        assert await store.execution(good.id) is None
        assert await store.accept([good]) == [Accepted(good.id, False)]

    async def test_a_delivery_sent_again_is_answered_with_the_first_execution(self, store: HistoryStore) -> None:
        first, again = an_execution(dedupe_key="k"), an_execution(dedupe_key="k")
        await store.accept([first])

        assert await store.accept([again]) == [Accepted(first.id, duplicate=True)]
        assert await store.execution(again.id) is None
        assert await store.counts() == {Status.ACCEPTED: 1}

    async def test_the_same_delivery_twice_in_one_batch_makes_one_execution(self, store: HistoryStore) -> None:
        first, again = an_execution(dedupe_key="k"), an_execution(dedupe_key="k")

        assert await store.accept([first, again]) == [Accepted(first.id, False), Accepted(first.id, True)]
        assert await store.counts() == {Status.ACCEPTED: 1}

    async def test_the_same_delivery_many_times_at_once_makes_one_execution(self, store: HistoryStore) -> None:
        answers = await asyncio.gather(*(store.accept([an_execution(dedupe_key="k")]) for _ in range(20)))

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
            an_execution(dedupe_key="k", dedupe_until=T0 + DAY * (n // 2 + 1)) for n in range(4)
        )
        await store.accept([first])

        clock.move(days=1, microseconds=-1)
        assert await store.accept([early]) == [Accepted(first.id, True)]
        clock.move(microseconds=1)
        assert await store.accept([late]) == [Accepted(late.id, False)]
        assert await store.accept([later]) == [Accepted(late.id, True)]

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
        await store.save_step(execution_id, a_step(output=body, error={"message": body}))
        await store.finish(execution_id, Status.SUCCEEDED, now=T0, output=body, error={"message": body})

        execution = await get(store, execution_id)

        assert (execution.event, execution.output, execution.error) == ({"body": body}, body, {"message": body})
        assert (execution.steps[0].output, execution.steps[0].error) == (body, {"message": body})

    async def test_nan_comes_back(self, store: HistoryStore) -> None:
        execution_id = await accepted(store, event={"body": json.loads("NaN")})

        assert math.isnan((await get(store, execution_id)).event["body"])

    @pytest.mark.parametrize("key", ["a\x00b", "\ud800", "k" * 100_000], ids=["NUL", "lone surrogate", "long"])
    async def test_a_dedupe_key_may_be_any_text(self, store: HistoryStore, key: str) -> None:
        first = an_execution(dedupe_key=key)

        await store.accept([first])

        assert await store.accept([an_execution(dedupe_key=key)]) == [Accepted(first.id, True)]

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

        assert execution is not None
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

        assert await claimed(store, limit=2) == [early, middle]
        assert await claimed(store, limit=2) == [late]
        assert await claimed(store, limit=2) == []

    async def test_a_claim_has_the_event(self, store: HistoryStore) -> None:
        new = an_execution(event={"body": "hello"})
        await store.accept([new])

        (execution,) = await store.claim(limit=1, now=T0, until=T0 + MINUTE)

        assert execution == await store.execution(new.id)

    async def test_only_accepted_executions_without_a_flow_run_are_claimed(self, store: HistoryStore) -> None:
        await accepted(store, flow_run_id="run-1")
        await running(store)
        await ended(store)

        assert await claimed(store) == []

    async def test_a_claim_runs_out(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        await claimed(store, now=T0)

        assert await claimed(store, now=T0 + MINUTE - SECOND) == []
        assert await claimed(store, now=T0 + MINUTE) == [execution_id]

    async def test_a_released_claim_is_free_at_once(self, store: HistoryStore) -> None:
        released, kept = await accepted(store), await accepted(store)
        await claimed(store)

        await store.release([released])

        assert await claimed(store) == [released]
        assert kept not in await claimed(store)

    async def test_many_who_claim_at_once_share_out_the_executions(self, store: HistoryStore) -> None:
        all_ids = [await accepted(store) for _ in range(12)]

        shares = await asyncio.gather(*(claimed(store, limit=3) for _ in range(6)))

        assert sorted(execution_id for share in shares for execution_id in share) == sorted(all_ids)

    async def test_a_dispatched_execution_has_its_flow_run_and_is_not_claimed_again(self, store: HistoryStore) -> None:
        one, two = await accepted(store), await accepted(store)
        await claimed(store)

        await store.dispatched({two: "run-2", one: "run-1", "unknown": "run-3"})

        assert await claimed(store, now=T0 + DAY) == []
        assert (await get(store, one)).flow_run_id == "run-1"
        found = await store.execution_of_flow_run("run-2")
        assert found is not None
        assert (found.id, found.status) == (two, Status.ACCEPTED)
        assert await store.execution_of_flow_run("run-3") is None

    async def test_dispatching_nothing_is_fine(self, store: HistoryStore) -> None:
        await store.dispatched({})
        await store.release([])
        assert await store.renew([], owner="host/1", until=T0) == []
        assert await store.finished([]) == {}

    async def test_an_execution_cancelled_while_it_was_dispatched_stays_cancelled(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        await claimed(store)
        await store.request_cancel(execution_id, by="api", reason="wrong", now=T0)

        await store.dispatched({execution_id: "run-1"})

        execution = await get(store, execution_id)
        assert (execution.status, execution.flow_run_id) == (Status.CANCELLED, "run-1")
        assert await begun(store, execution_id, flow_run_id="run-1") is None

    async def test_an_execution_begun_before_its_dispatch_was_noted_keeps_running(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        await begun(store, execution_id, flow_run_id="run-1")

        await store.dispatched({execution_id: "run-1"})

        execution = await get(store, execution_id)
        assert (execution.status, execution.flow_run_id) == (Status.RUNNING, "run-1")

    async def test_a_dispatch_not_begun_for_long_is_stale(self, store: HistoryStore, clock: ManualClock) -> None:
        first, second, third, taken = [await accepted(store) for _ in range(4)]
        await store.dispatched({second: "run-2", taken: "run-4"})
        await begun(store, taken)
        clock.move(minutes=1)
        await store.dispatched({first: "run-1"})
        clock.move(minutes=1)
        await store.dispatched({third: "run-3"})

        assert ids(await store.stale_dispatches(T0 + 2 * MINUTE, 10)) == [second, first]
        assert ids(await store.stale_dispatches(T0 + 2 * MINUTE, 1)) == [second]
        assert ids(await store.stale_dispatches(T0, 10)) == []

    async def test_an_undispatched_execution_is_claimed_again(self, store: HistoryStore) -> None:
        lost, begun_since = await accepted(store), await accepted(store)
        await store.dispatched({lost: "run-1", begun_since: "run-2"})
        await begun(store, begun_since)

        await store.undispatch(lost)
        await store.undispatch(begun_since)

        assert await claimed(store) == [lost]
        assert (await get(store, lost)).flow_run_id is None
        assert (await get(store, begun_since)).flow_run_id == "run-2"

    # Running

    async def test_beginning_gives_the_execution_with_event_and_steps(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)

        execution = await store.begin(
            execution_id, flow_run_id="run-1", owner="host/1", now=T0 + SECOND, lease_until=T0 + MINUTE
        )

        assert execution is not None
        assert execution == await store.execution(execution_id)
        assert (execution.status, execution.runs, execution.owner) == (Status.RUNNING, 1, "host/1")
        assert (execution.started_at, execution.lease_until) == (T0 + SECOND, T0 + MINUTE)
        assert (execution.flow_run_id, execution.event["body"]) == ("run-1", {"amount": 12})

    async def test_the_trace_it_was_accepted_in_goes_with_an_execution(self, store: HistoryStore) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        traced, untraced = await accepted(store, trace=trace), await accepted(store)

        [first, second] = await store.claim(limit=2, now=T0, until=T0 + MINUTE)
        begun_ = [await begun(store, execution_id) for execution_id in (traced, untraced)]

        assert (first.trace, second.trace) == (trace, None)
        assert [execution and execution.trace for execution in begun_] == [trace, None]

    async def test_beginning_again_counts_and_keeps_the_first_start(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        await begun(store, execution_id, flow_run_id="run-1")
        await store.save_step(execution_id, a_step(output=1))

        again = await begun(store, execution_id, owner="other/2", now=T0 + HOUR, lease_until=T0 + 2 * HOUR)

        assert again is not None
        assert (again.runs, again.owner, again.started_at, again.flow_run_id) == (2, "other/2", T0, "run-1")
        assert again.lease_until == T0 + 2 * HOUR
        assert [step.output for step in again.steps] == [1]

    @pytest.mark.parametrize("status", [status for status in Status if status.is_final])
    async def test_what_has_ended_is_not_begun(self, store: HistoryStore, status: Status) -> None:
        execution_id = await ended(store, status)

        assert await begun(store, execution_id) is None
        assert (await get(store, execution_id)).status is status

    async def test_what_is_unknown_is_not_begun(self, store: HistoryStore) -> None:
        assert await begun(store, "unknown") is None

    async def test_a_begun_execution_is_claimed_by_nobody(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        await claimed(store)
        await begun(store, execution_id)

        assert await claimed(store, now=T0 + DAY) == []

    async def test_a_step_saved_again_is_replaced(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        done = a_step(attempts=3, output={"ts": "1"}, started_at=T0, finished_at=T0 + SECOND)

        await store.save_step(execution_id, a_step(status=Status.RUNNING, started_at=T0))
        await store.save_step(execution_id, done)

        assert (await get(store, execution_id)).steps == (done,)

    async def test_steps_are_in_the_order_they_started(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        order = [("b", SECOND), ("a", SECOND), ("skipped", None), ("d", 3 * SECOND), ("c", 2 * SECOND)]
        for step_id, after in order:
            await store.save_step(execution_id, a_step(step_id, started_at=T0 + after if after else None))
        await store.save_step(execution_id, a_step("b", started_at=T0 + SECOND, attempts=2))

        assert [step.step_id for step in (await get(store, execution_id)).steps] == ["b", "a", "skipped", "c", "d"]

    async def test_a_step_of_an_unknown_execution_is_refused(self, store: HistoryStore) -> None:
        with pytest.raises(NotFound, match="there is no execution unknown"):
            await store.save_step("unknown", a_step())

    async def test_one_refused_write_does_not_fail_its_neighbours(self, store: HistoryStore) -> None:
        execution_id = await running(store)

        results = await asyncio.gather(
            store.save_step(execution_id, a_step("one")),
            store.save_step("unknown", a_step("two")),
            store.save_step(execution_id, a_step("three")),
            store.accept([an_execution(id="neighbour")]),
            return_exceptions=True,
        )

        assert [type(result) for result in results] == [type(None), NotFound, type(None), list]
        assert [step.step_id for step in (await get(store, execution_id)).steps] == ["one", "three"]
        assert (await get(store, "neighbour")).status is Status.ACCEPTED

    async def test_the_first_end_wins(self, store: HistoryStore) -> None:
        execution_id = await running(store)

        assert await store.finish(execution_id, Status.SUCCEEDED, now=T0 + SECOND, output={"sent": 1}) is True
        assert await store.finish(execution_id, Status.FAILED, now=T0 + HOUR, error={"code": "x"}) is False

        execution = await get(store, execution_id)
        assert (execution.status, execution.finished_at) == (Status.SUCCEEDED, T0 + SECOND)
        assert (execution.output, execution.error) == ({"sent": 1}, None)
        assert (execution.owner, execution.lease_until) == (None, None)

    async def test_of_two_ends_at_once_one_wins(self, store: HistoryStore) -> None:
        execution_id = await running(store)

        won = await asyncio.gather(*(store.finish(execution_id, Status.SUCCEEDED, now=T0) for _ in range(5)))

        assert won.count(True) == 1

    async def test_an_unknown_execution_does_not_end(self, store: HistoryStore) -> None:
        assert await store.finish("unknown", Status.FAILED, now=T0) is False

    @pytest.mark.parametrize("status", [Status.ACCEPTED, Status.RUNNING])
    async def test_only_an_end_ends(self, store: HistoryStore, status: Status) -> None:
        execution_id = await running(store)

        with pytest.raises(ValueError, match="is no end"):
            await store.finish(execution_id, status, now=T0)

    async def test_what_was_never_begun_can_end(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)

        assert await store.finish(execution_id, Status.FAILED, now=T0, error={"code": "crashed"}) is True
        assert await claimed(store) == []

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
        self, store: HistoryStore, status: Status, expected: Status
    ) -> None:
        execution_id = await running(store)
        done = a_step("done", finished_at=T0, started_at=T0)
        await store.save_step(execution_id, done)
        await store.save_step(execution_id, a_step("open", Status.RUNNING, started_at=T0 + SECOND))

        await store.finish(execution_id, status, now=T0 + MINUTE)

        first, second = (await get(store, execution_id)).steps
        assert first == done
        assert (second.status, second.finished_at) == (expected, T0 + MINUTE)

    async def test_only_the_owner_renews_its_lease(self, store: HistoryStore) -> None:
        mine, others = await running(store, owner="host/1"), await running(store, owner="host/2")
        over = await ended(store)

        renewed = await store.renew([mine, others, over, "unknown"], owner="host/1", until=T0 + HOUR)

        leases = [(await get(store, execution_id)).lease_until for execution_id in (mine, others, over)]
        assert leases == [T0 + HOUR, T0 + MINUTE, None]
        assert renewed == [mine]

    async def test_a_lease_that_is_over_has_expired(self, store: HistoryStore) -> None:
        execution_id = await running(store, lease_until=T0 + MINUTE)
        await running(store, lease_until=T0 + HOUR)
        await accepted(store)
        await ended(store)

        assert await store.expired(T0 + MINUTE - SECOND) == []
        assert ids(await store.expired(T0 + MINUTE)) == [execution_id]

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
        await store.dispatched({execution_id: "run-1"})
        await begun(store, execution_id, flow_run_id="run-1")
        await store.save_step(execution_id, a_step(status=Status.RUNNING, started_at=T0))
        clock.move(hours=1)

        assert await store.requeue(execution_id, owner="host/1") is True

        execution = await get(store, execution_id)
        assert (execution.status, execution.flow_run_id, execution.runs) == (Status.ACCEPTED, "run-1", 1)
        assert (execution.owner, execution.lease_until) == (None, None)
        assert [step.status for step in execution.steps] == [Status.RUNNING]
        assert await claimed(store) == []
        assert await store.stale_dispatches(T0 + HOUR, 10) == []  # it waits since it was requeued
        assert ids(await store.stale_dispatches(T0 + 2 * HOUR, 10)) == [execution_id]

    async def test_a_requeued_execution_without_a_flow_run_is_dispatched(self, store: HistoryStore) -> None:
        execution_id = await running(store)

        assert await store.requeue(execution_id, owner="host/1") is True
        assert await claimed(store) == [execution_id]

    async def test_only_the_owner_requeues_and_only_what_runs(self, store: HistoryStore) -> None:
        runs, waits, over = await running(store), await accepted(store), await ended(store)

        assert await store.requeue(runs, owner="host/2") is False
        assert await store.requeue(runs, owner=None) is False
        assert await store.requeue(waits, owner=None) is False
        assert await store.requeue(over, owner="host/1") is False
        assert await store.requeue("unknown", owner="host/1") is False
        assert (await get(store, runs)).status is Status.RUNNING

    async def test_a_cancelled_execution_that_was_not_dispatched_ends_at_once(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)

        execution = await store.request_cancel(execution_id, by="api", reason="wrong order", now=T0 + SECOND)

        assert execution is not None
        assert (execution.status, execution.finished_at) == (Status.CANCELLED, T0 + SECOND)
        assert execution.cancel_requested == {"by": "api", "reason": "wrong order"}
        assert await claimed(store) == []
        assert await begun(store, execution_id) is None

    async def test_a_cancelled_execution_that_was_dispatched_is_told_when_it_begins(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        await store.dispatched({execution_id: "run-1"})

        noted = await store.request_cancel(execution_id, by="api", reason="", now=T0)
        execution = await begun(store, execution_id)

        assert noted is not None
        assert execution is not None
        assert (noted.status, noted.flow_run_id) == (Status.ACCEPTED, "run-1")
        assert execution.cancel_requested == {"by": "api", "reason": ""}

    async def test_a_cancel_of_a_running_execution_is_noted_and_the_first_request_stays(
        self, store: HistoryStore
    ) -> None:
        execution_id = await running(store)

        await store.request_cancel(execution_id, by="first", reason="a", now=T0)
        execution = await store.request_cancel(execution_id, by="second", reason="b", now=T0)

        assert execution is not None
        assert (execution.status, execution.finished_at) == (Status.RUNNING, None)
        assert execution.cancel_requested == {"by": "first", "reason": "a"}

    async def test_a_cancel_comes_too_late_for_what_has_ended(self, store: HistoryStore) -> None:
        execution_id = await ended(store)

        execution = await store.request_cancel(execution_id, by="api", reason="", now=T0 + HOUR)

        assert execution is not None
        assert (execution.status, execution.cancel_requested) == (Status.SUCCEEDED, None)

    async def test_a_cancel_of_an_unknown_execution_is_nothing(self, store: HistoryStore) -> None:
        assert await store.request_cancel("unknown", by="api", reason="", now=T0) is None

    async def test_cancels_are_found_by_those_who_run_the_executions(self, store: HistoryStore) -> None:
        one, other, third = [await running(store) for _ in range(3)]
        await store.request_cancel(one, by="api", reason="wrong", now=T0)
        await store.request_cancel(third, by="api", reason="", now=T0)

        assert await store.cancel_requests([one, other, "unknown"]) == {one: {"by": "api", "reason": "wrong"}}
        assert await store.cancel_requests([]) == {}

    # Reading

    async def test_unknown_executions_are_nothing(self, store: HistoryStore) -> None:
        assert await store.execution("unknown") is None
        assert await store.execution_of_flow_run("unknown") is None
        assert await store.counts() == {}
        assert await store.backlog() == {}
        assert (await store.executions()).items == []

    async def test_those_who_wait_get_what_has_ended(self, store: HistoryStore) -> None:
        runs, over = await running(store), await running(store)
        await store.save_step(over, a_step())
        await store.finish(over, Status.FAILED, now=T0, output=[1], error={"code": "x"})

        found = await store.finished([runs, over, "unknown"])

        whole = await get(store, over)
        assert found == {over: replace(whole, event=None, steps=())}
        assert (found[over].output, found[over].error) == ([1], {"code": "x"})

    async def test_a_page_is_newest_first_and_light(self, store: HistoryStore) -> None:
        first, second = await accepted(store), await running(store)
        await store.save_step(second, a_step())
        await store.finish(second, Status.FAILED, now=T0, output=[1], error={"code": "x"})

        page = await store.executions()

        whole = await get(store, second)
        assert ids(page.items) == [second, first]
        assert page.items[0] == replace(whole, event=None, output=None, steps=())
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

    async def test_pruning_removes_what_ended_before_oldest_first(self, store: HistoryStore) -> None:
        last, first, second = [await ended(store, at=T0 + HOUR * n) for n in (3, 1, 2)]
        kept = [await accepted(store), await running(store)]

        assert await store.prune(before=T0 + 3 * HOUR, limit=1) == 1
        assert await store.execution(first) is None
        assert await store.execution(second) is not None
        assert await store.prune(before=T0 + 3 * HOUR, limit=10) == 1
        assert await store.prune(before=T0 + 3 * HOUR, limit=10) == 0
        assert ids((await store.executions()).items) == [*kept[::-1], last]

    async def test_a_pruned_execution_leaves_nothing_behind(self, store: HistoryStore) -> None:
        execution_id = await running(store, event={"body": "secret"})
        await store.save_step(execution_id, a_step())
        await store.finish(execution_id, Status.SUCCEEDED, now=T0)
        await store.prune(before=T0 + SECOND, limit=10)

        await store.accept([an_execution(id=execution_id, event={"body": "new"})])

        execution = await get(store, execution_id)
        assert (execution.status, execution.event, execution.steps) == (Status.ACCEPTED, {"body": "new"}, ())

    async def test_a_delivery_is_remembered_longer_than_its_execution(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        execution_id = await ended(store, dedupe_key="k", dedupe_until=T0 + DAY)

        await store.prune(before=T0 + SECOND, limit=10)
        assert await store.accept([an_execution(dedupe_key="k")]) == [Accepted(execution_id, True)]

        clock.move(days=1)
        assert (await store.accept([an_execution(dedupe_key="k")]))[0].duplicate is False

    async def test_deliveries_are_forgotten_when_their_time_is_over(self, store: HistoryStore) -> None:
        lifetimes = [SECOND, SECOND, SECOND, DAY, None]
        for number, lifetime in enumerate(lifetimes):
            await accepted(store, dedupe_key=f"k{number}", dedupe_until=T0 + lifetime if lifetime else None)

        assert await store.forget_deliveries(now=T0, limit=10) == 0
        assert await store.forget_deliveries(now=T0 + SECOND, limit=2) == 2
        assert await store.forget_deliveries(now=T0 + SECOND, limit=2) == 1
        assert [(await store.accept([an_execution(dedupe_key=f"k{n}")]))[0].duplicate for n in (3, 4)] == [True, True]

    async def test_the_newest_ends_have_a_last_one(self, store: HistoryStore) -> None:
        for hours in (2, 1, 3):
            await ended(store, at=T0 + HOUR * hours)
        await running(store)

        assert await store.end_of_newest(1) == T0 + 3 * HOUR
        assert await store.end_of_newest(2) == T0 + 2 * HOUR
        assert await store.end_of_newest(3) is None

    # Large documents

    async def test_large_documents_come_back_wherever_they_are_read(self, store: HistoryStore) -> None:
        large = {"text": "x" * 300_000}
        new = an_execution(event={"body": large}, steps=[a_step("taken", output=large)])
        await store.accept([new])

        (claimed,) = await store.claim(limit=1, now=T0, until=T0 + MINUTE)
        begun_ = await begun(store, new.id)
        await store.save_step(new.id, a_step("own", output=[large]))
        await store.finish(new.id, Status.SUCCEEDED, now=T0, output=large)

        assert begun_ is not None
        assert [claimed.event, begun_.event, begun_.steps[0].output] == [{"body": large}, {"body": large}, large]
        execution = await get(store, new.id)
        assert (execution.event, execution.output) == ({"body": large}, large)
        assert [step.output for step in execution.steps] == [large, [large]]
        assert (await store.finished([new.id]))[new.id].output == large
        cancelled = await store.request_cancel(new.id, by="api", reason="", now=T0)
        assert cancelled is not None
        assert cancelled.output == large

    async def test_a_large_document_stays_while_another_execution_has_it(self, store: HistoryStore) -> None:
        large = {"body": "x" * 300_000}
        first = await ended(store, event=large)
        second = await ended(store, event=large, at=T0 + HOUR)

        assert await store.prune(before=T0 + SECOND, limit=10) == 1

        assert await store.execution(first) is None
        assert (await get(store, second)).event == large
        assert await store.prune(before=T0 + DAY, limit=10) == 1
        third = await accepted(store, event=large)
        assert (await get(store, third)).event == large

    async def test_a_step_whose_output_is_too_large_is_refused(self, store: HistoryStore) -> None:
        execution_id = await running(store)
        output = "x" * (Limits().output_bytes - 2)
        await store.save_step(execution_id, a_step("just", output=output))

        with pytest.raises(TooLarge, match=r"the output is 10485761 bytes .* the 10485760 that are kept"):
            await store.save_step(execution_id, a_step("over", output=output + "x"))

        assert [step.step_id for step in (await get(store, execution_id)).steps] == ["just"]

    async def test_an_execution_whose_output_is_too_large_does_not_end_with_it(self, store: HistoryStore) -> None:
        execution_id = await running(store)

        with pytest.raises(TooLarge):
            await store.finish(execution_id, Status.SUCCEEDED, now=T0, output="x" * Limits().output_bytes)

        assert (await get(store, execution_id)).status is Status.RUNNING

    async def test_versions_are_never_pruned(self, store: HistoryStore) -> None:
        await store.publish(a_version("v1"))
        await store.publish(a_version("v2"))
        await ended(store)

        await store.prune(before=T0 + DAY, limit=10)

        assert await store.version("orders", "v1") is not None
