"""What every `HistoryStore` does with what is accepted: stored whole, a delivery once."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from store_builders import (
    DAY,
    SECOND,
    T0,
    a_step,
    accepted,
    an_execution,
    begun,
    finish,
    get,
    running,
    save,
)

from flows.history import Accepted, Execution, HistoryStore, Status, Trigger
from foundation.clock import ManualClock


class InboxSuite:
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
            waiting_for="concurrency",
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
