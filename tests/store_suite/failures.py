"""What every history does for failure triggers when an execution fails: a part of `StoreSuite`."""

from __future__ import annotations

from typing import Any

import pytest
from store_builders import T0, a_step, a_version, accepted, begun, ended, finish, get, hold_of, running, save

from flows.history import Execution, HistoryStore, Hold, Status, Trigger
from flows.history.failed import SHOWN_CHARACTERS, SHOWN_STEPS
from foundation.clock import ManualClock

ERROR = {"code": "remote", "message": "it answered 500", "step": "notify"}
LARGE = "x" * SHOWN_CHARACTERS


async def watch(store: HistoryStore, workflow: str, *patterns: str) -> None:
    declaration = {"name": workflow, "triggers": [{"failure": {"of": list(patterns)}}]}
    await store.publish(a_version(workflow=workflow, declaration=declaration))


async def started(store: HistoryStore) -> list[Execution]:
    """What failures have started, oldest first, with events."""
    found = [one for one in (await store.executions()).items if one.trigger is Trigger.FAILURE]
    return [await get(store, one.id) for one in reversed(found)]


class FailuresSuite:
    @pytest.mark.parametrize("status", [Status.FAILED, Status.TIMED_OUT])
    async def test_a_failure_starts_the_workflow_that_watches(self, store: HistoryStore, status: Status) -> None:
        await watch(store, "alert", "orders-*")
        failed = await ended(store, status, workflow="orders-eu")

        [alert] = await started(store)

        assert (alert.workflow, alert.version, alert.status) == ("alert", "v1", Status.ACCEPTED)
        assert (alert.parent_id, alert.accepted_at) == (failed, (await get(store, failed)).finished_at)
        assert (alert.event["body"]["id"], alert.event["body"]["status"]) == (failed, status)

    async def test_its_event_is_the_failed_execution(self, store: HistoryStore, clock: ManualClock) -> None:
        await watch(store, "alert", "orders")
        failed = await running(store, event={"body": {"amount": 12}})
        await save(store, failed, a_step("look", output={"n": 1}, started_at=T0, finished_at=T0))
        await save(store, failed, a_step("notify", Status.RUNNING, started_at=T0))
        clock.move(seconds=1.5)
        await finish(store, failed, Status.FAILED, error=ERROR)

        [alert] = await started(store)

        step = {"attempts": 1, "action": "slack.post_message", "started_at": "2026-01-01T00:00:00Z", "error": None}
        assert alert.event["body"] == {
            "id": failed,
            "workflow": "orders",
            "version": "v1",
            "mode": "standard",
            "trigger": "webhook",
            "status": "failed",
            "error": ERROR,
            "event": {"body": {"amount": 12}},
            "output": None,
            "accepted_at": "2026-01-01T00:00:00Z",
            "started_at": "2026-01-01T00:00:00Z",
            "finished_at": "2026-01-01T00:00:01.500000Z",
            "flow_run_id": None,
            "flow_run_url": None,
            "parent_id": None,
            "replay_of": None,
            "replayed_by": None,
            "waiting_for": None,
            "steps": [
                step | {"id": "look", "status": "succeeded", "output": {"n": 1}, "finished_at": "2026-01-01T00:00:00Z"},
                step
                | {"id": "notify", "status": "failed", "output": None, "finished_at": "2026-01-01T00:00:01.500000Z"},
            ],
            "left_out": [],
        }
        assert alert.event["received_at"] == "2026-01-01T00:00:01.500000Z"
        assert (alert.event["headers"], alert.event["query"], alert.event["method"]) == ({}, {}, None)

    async def test_what_is_large_is_left_out_and_said_to_be(self, store: HistoryStore) -> None:
        await watch(store, "alert", "orders")
        failed = await running(store, event={"body": LARGE})
        await save(store, failed, a_step("fine", output="small"), a_step("much", output=LARGE))
        await finish(store, failed, Status.FAILED, output=LARGE, error=ERROR)

        [alert] = await started(store)

        body = alert.event["body"]
        assert body["left_out"] == ["event", "output", "steps.much.output"]
        assert (body["event"], body["output"]) == (None, None)
        assert [step["output"] for step in body["steps"]] == ["small", None]

    async def test_of_many_steps_the_failed_ones_and_the_last_are_shown(self, store: HistoryStore) -> None:
        await watch(store, "alert", "orders")
        failed = await running(store)
        await save(store, failed, a_step("first"), a_step("failed", Status.FAILED))
        await save(store, failed, *(a_step(f"lines[{number}].reserve") for number in range(SHOWN_STEPS)))
        await finish(store, failed, Status.FAILED, error=ERROR)

        [alert] = await started(store)

        shown = [step["id"] for step in alert.event["body"]["steps"]]
        assert shown == ["failed", *(f"lines[{number}].reserve" for number in range(1, SHOWN_STEPS))]
        assert alert.event["body"]["left_out"] == ["steps"]

    @pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.CANCELLED, Status.SKIPPED])
    async def test_what_did_not_fail_starts_nothing(self, store: HistoryStore, status: Status) -> None:
        await watch(store, "alert", "*")
        await ended(store, status)

        assert await started(store) == []

    async def test_a_workflow_that_does_not_match_starts_nothing(self, store: HistoryStore) -> None:
        await watch(store, "alert", "orders-*", "stock")
        for workflow in ("orders", "my-orders-eu", "stocks"):
            await ended(store, Status.FAILED, workflow=workflow)

        assert await started(store) == []

    async def test_one_that_is_not_active_is_not_started(self, store: HistoryStore) -> None:
        await watch(store, "alert", "*")
        await store.set_active("alert", False)
        await ended(store, Status.FAILED)

        assert await started(store) == []

    async def test_the_trigger_of_the_current_version_counts(self, store: HistoryStore) -> None:
        await watch(store, "alert", "*")
        await store.publish(a_version("v2", workflow="alert", declaration={"name": "alert", "triggers": []}))
        await ended(store, Status.FAILED)

        assert await started(store) == []

    async def test_several_may_watch_and_each_is_started_once(self, store: HistoryStore) -> None:
        await watch(store, "alert", "*", "orders")
        await watch(store, "note", "orders")
        await ended(store, Status.FAILED)

        assert sorted(one.workflow for one in await started(store)) == ["alert", "note"]

    async def test_a_failure_is_told_once_whoever_ends_it(self, store: HistoryStore) -> None:
        await watch(store, "alert", "*")
        given_up = await accepted(store)
        taken_over = await running(store, lease=-1)
        late = await hold_of(store, taken_over)
        await begun(store, taken_over, owner="other/2")

        assert await store.finish(Hold(given_up, None, 0), Status.FAILED, error=ERROR) is True
        assert await store.finish(late, Status.FAILED, error=ERROR) is False
        await finish(store, taken_over, Status.FAILED, error=ERROR)
        assert await store.finish(await hold_of(store, taken_over), Status.FAILED, error=ERROR) is False

        assert [one.parent_id for one in await started(store)] == [given_up, taken_over]

    async def test_its_own_failures_start_nothing(self, store: HistoryStore) -> None:
        await watch(store, "alert", "*")
        await ended(store, Status.FAILED, workflow="alert")

        assert await started(store) == []

    async def test_two_that_watch_everything_do_not_start_each_other_for_ever(self, store: HistoryStore) -> None:
        await watch(store, "alert", "*")
        await watch(store, "note", "*")
        await ended(store, Status.FAILED)
        told: list[tuple[Any, Any]] = []
        while waiting := [one for one in await started(store) if one.status is Status.ACCEPTED]:
            for one in waiting:
                await begun(store, one.id)
                await finish(store, one.id, Status.FAILED, error=ERROR)
                told.append((one.workflow, one.event["body"]["workflow"]))

        assert sorted(told) == [("alert", "note"), ("alert", "orders"), ("note", "alert"), ("note", "orders")]

    async def test_what_it_calls_does_not_start_it_again(self, store: HistoryStore) -> None:
        await watch(store, "alert", "*")
        await ended(store, Status.FAILED)
        [alert] = await started(store)
        await ended(store, Status.FAILED, workflow="helper", trigger=Trigger.CALL, parent_id=alert.id)

        assert len(await started(store)) == 1
