"""What every `HistoryStore` does for those who look at executions, and to stay small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    an_execution,
    begun,
    ended,
    finish,
    get,
    ids,
    running,
    save,
)

from flows.history import Accepted, HistoryStore, Limits, Status, Trigger
from foundation.clock import ManualClock
from foundation.errors import TooLarge


class ArchiveSuite:
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
        assert await store.counts(ended=False) == {Status.ACCEPTED: 1, Status.RUNNING: 1}

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
