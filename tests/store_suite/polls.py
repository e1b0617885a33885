"""What every history does for poll triggers: a part of `StoreSuite`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from store_builders import HOUR, MINUTE, SECOND, T0, a_version, an_execution, ids

from flows.history import HistoryStore, NewExecution, PollHold, PollState, Trigger, polled
from foundation.clock import ManualClock

RSS, HTTP = "rss.items", "http.request"
GONE = {"code": "remote", "message": "410 Gone"}


async def declare(
    store: HistoryStore, *uses: str, workflow: str = "news", version: str = "v1", every: float = 60
) -> None:
    triggers = [{"poll": {"uses": one, "every": every}} for one in uses]
    await store.publish(a_version(version, workflow=workflow, declaration={"name": workflow, "triggers": triggers}))


async def claimed(store: HistoryStore, claim: float = 90) -> PollState:
    state = await store.claim_poll(claim=claim)
    assert state is not None
    return state


async def finish(
    store: HistoryStore, state: PollState, *keys: str, new: Sequence[NewExecution] = (), **more: Any
) -> None:
    assert await store.finish_poll(state.hold, keys=keys, new=new, **{"cursor": None} | more)


async def known(store: HistoryStore, *keys: str, workflow: str = "news", source: str = RSS) -> set[str]:
    return set(await store.known_keys(PollHold(workflow, source, 0), keys))


async def the_poll(store: HistoryStore) -> PollState:
    [state] = await store.polls()
    return state


def an_item(**values: Any) -> NewExecution:
    return an_execution(**{"workflow": "news", "trigger": Trigger.POLL} | values)


class PollsSuite:
    async def test_a_poll_that_is_declared_is_due_at_once(self, store: HistoryStore) -> None:
        await declare(store, RSS)

        assert await claimed(store) == PollState("news", RSS, 60, active=True, due_at=T0, age=0, run=1)

    async def test_who_has_claimed_it_polls_alone(self, store: HistoryStore, clock: ManualClock) -> None:
        await declare(store, RSS)

        claims = await asyncio.gather(*(store.claim_poll(claim=90) for _ in range(3)))
        assert [claim.run for claim in claims if claim] == [1]
        clock.move(seconds=89)
        assert await store.claim_poll(claim=90) is None

    async def test_a_claim_that_is_over_is_anothers(self, store: HistoryStore, clock: ManualClock) -> None:
        await declare(store, RSS)
        died = await claimed(store)
        clock.move(seconds=90)
        again = await claimed(store)

        assert again.run == 2
        assert await store.finish_poll(died.hold, keys=["a"], new=[an_item()], cursor=1) is False
        assert await store.fail_poll(died.hold, error=GONE, retry=30) is False
        await store.release_poll(died.hold)
        assert await store.claim_poll(claim=90) is None
        assert (await store.executions()).items == []
        assert await known(store, "a") == set()
        await finish(store, again, "a")

    async def test_what_it_found_is_stored_with_what_it_has_seen(self, store: HistoryStore, clock: ManualClock) -> None:
        await declare(store, RSS)
        state, new = await claimed(store), [an_item(), an_item()]
        clock.move(seconds=1)
        await finish(store, state, "a", "b", new=new, cursor={"after": 2})

        assert sorted(ids((await store.executions()).items)) == [one.id for one in new]
        assert await known(store, "a", "b", "c") == {"a", "b"}
        shown = await the_poll(store)
        assert (shown.polled_at, shown.due_at, shown.cursor) == (T0 + SECOND, T0 + SECOND + MINUTE, {"after": 2})

    async def test_a_poll_that_has_ended_does_not_end_again(self, store: HistoryStore) -> None:
        await declare(store, RSS)
        state = await claimed(store)
        await finish(store, state, "a", new=[an_item()])

        assert await store.finish_poll(state.hold, keys=["b"], new=[an_item()], cursor=None) is False
        assert await store.fail_poll(state.hold, error=GONE, retry=30) is False
        assert len((await store.executions()).items) == 1

    async def test_it_is_due_again_after_its_interval(self, store: HistoryStore, clock: ManualClock) -> None:
        await declare(store, RSS)
        await finish(store, await claimed(store), "a")
        clock.move(seconds=59)
        assert await store.claim_poll(claim=90) is None
        clock.move(seconds=1)

        assert (await claimed(store)).polled_at == T0

    async def test_a_failure_is_counted_and_tried_again(self, store: HistoryStore, clock: ManualClock) -> None:
        await declare(store, RSS)
        await finish(store, await claimed(store), "a", cursor=7)
        for failures in (1, 2):
            clock.move(minutes=1)
            assert await store.fail_poll((await claimed(store)).hold, error=GONE, retry=30)
            shown = await the_poll(store)
            assert (shown.failures, shown.error, shown.cursor, shown.polled_at) == (failures, GONE, 7, T0)
            assert shown.due_at == clock.now() + 30 * SECOND
        clock.move(seconds=30)
        await finish(store, await claimed(store), "a")

        shown = await the_poll(store)
        assert (shown.failures, shown.error) == (0, None)

    async def test_a_claim_that_is_given_back_is_due_as_it_was(self, store: HistoryStore) -> None:
        await declare(store, RSS)
        await store.release_poll((await claimed(store)).hold)

        assert (await claimed(store)).run == 2

    async def test_those_due_longest_go_first(self, store: HistoryStore, clock: ManualClock) -> None:
        await declare(store, RSS, workflow="later", every=3_600)
        await finish(store, await claimed(store))
        clock.move(hours=2)
        await declare(store, RSS, workflow="earlier")
        clock.move(seconds=1)

        assert [(await claimed(store)).workflow for _ in range(2)] == ["later", "earlier"]

    async def test_inactive_workflows_are_not_polled(self, store: HistoryStore, clock: ManualClock) -> None:
        await declare(store, RSS)
        await store.set_active("news", False)
        clock.move(hours=1)

        assert await store.claim_poll(claim=90) is None
        shown = await the_poll(store)
        assert (shown.active, shown.is_frozen) == (False, False)
        await store.set_active("news", True)
        assert (await claimed(store)).active

    async def test_what_was_seen_outlives_a_change_that_leaves_the_action(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await declare(store, RSS, HTTP)
        for _ in range(2):
            await finish(store, await claimed(store), "a", cursor=7)
        clock.move(seconds=10)
        await declare(store, HTTP, RSS, version="v2", every=10)

        shown = await store.polls()
        assert [(one.source, one.every, one.polled_at, one.cursor) for one in shown] == [
            (HTTP, 10, T0, 7),
            (RSS, 10, T0, 7),
        ]
        assert [one.due_at for one in shown] == [T0 + 10 * SECOND] * 2
        assert await known(store, "a") == {"a"}

    async def test_with_another_action_it_begins_anew(self, store: HistoryStore) -> None:
        await declare(store, RSS)
        await finish(store, await claimed(store), "a")
        await declare(store, HTTP, version="v2")
        await declare(store, RSS, version="v3")

        shown = await the_poll(store)
        assert (shown.source, shown.polled_at, shown.run) == (RSS, None, 0)
        assert await known(store, "a") == set()

    async def test_a_poll_that_is_gone_stores_nothing_any_more(self, store: HistoryStore) -> None:
        await declare(store, RSS)
        state = await claimed(store)
        await declare(store, version="v2")

        assert await store.finish_poll(state.hold, keys=["a"], new=[an_item()], cursor=None) is False
        assert ((await store.executions()).items, await store.polls()) == ([], [])

    async def test_two_polls_of_one_action_are_told_apart(self, store: HistoryStore) -> None:
        await declare(store, RSS, RSS)
        await declare(store, RSS, workflow="other")
        for key in ("a", "b", "c"):
            await finish(store, await claimed(store), key)

        assert [(one.workflow, one.source) for one in await store.polls()] == [
            ("news", RSS),
            ("news", f"{RSS}-2"),
            ("other", RSS),
        ]
        assert [one.workflow for one in await store.polls("other")] == ["other"]
        seen = [await known(store, "a", "b", "c", source=source) for source in (RSS, f"{RSS}-2")]
        assert sorted(map(len, [*seen, await known(store, "a", "b", "c", workflow="other")])) == [1, 1, 1]

    async def test_keys_may_be_of_any_length_and_hold_any_character(self, store: HistoryStore) -> None:
        await declare(store, RSS)
        keys = ["x" * 100_000, "\x00", "\ud800", ""]
        await finish(store, await claimed(store), *keys)

        assert await known(store, *keys, "y") == set(keys)

    async def test_the_keys_that_were_not_seen_for_longest_are_forgotten(
        self, store: HistoryStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in self.remembering():
            monkeypatch.setattr(module, "KEPT_KEYS", 3)
        await declare(store, RSS)
        for keys in (["old"], ["a", "b", "c"], ["c", "d"], ["d"], []):
            await finish(store, await claimed(store), *keys)
            clock.move(minutes=1)
        assert await known(store, "old", "a", "b", "c", "d") == {"a", "b", "c", "d"}
        await finish(store, await claimed(store), "e", "f")

        assert await known(store, "a", "b", "c", "d", "e", "f") >= {"c", "d", "e", "f"}
        assert await known(store, "old") == set()

    def remembering(self) -> list[Any]:
        from flows.history import polls
        from flows.history.memory import polls as in_memory

        return [polls, in_memory]

    async def test_one_that_has_not_gone_well_for_long_is_frozen(self, store: HistoryStore, clock: ManualClock) -> None:
        await declare(store, RSS, every=100)
        clock.move(seconds=600)
        assert not (await the_poll(store)).is_frozen
        clock.move(seconds=1)
        assert (await the_poll(store)).is_frozen
        await finish(store, await claimed(store))
        assert not (await the_poll(store)).is_frozen
        clock.move(hours=1)
        assert await store.fail_poll((await claimed(store)).hold, error=GONE, retry=30)

        shown = await the_poll(store)
        assert (shown.is_frozen, shown.age) == (True, HOUR.total_seconds())
        assert polled.FROZEN_POLLS * 100 + polled.FROZEN_SECONDS == 600
