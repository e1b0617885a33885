"""What every `HistoryStore` does for express executions: admitted and begun at once, and told to Prefect afterwards."""

from __future__ import annotations

from store_builders import (
    HOUR,
    SECOND,
    T0,
    a_step,
    a_version,
    accepted,
    admitted,
    begun,
    finish,
    get,
    hold_of,
    ids,
    save,
)

from flows.history import Admitted, HistoryStore, Hold, Mode, NewWait, Refusal, Status, WaitKind
from foundation.clock import ManualClock


async def published(store: HistoryStore, name: str = "quick", mode: str | None = "express", limit: int = 10) -> None:
    declaration = {"name": name, "mode": mode, "concurrency": [{"limit": limit}]}
    await store.publish(a_version(workflow=name, source=name, declaration=declaration))


async def begin_all(store: HistoryStore, *, owner: str = "host/1", limit: int = 100) -> Admitted:
    return await store.admit_and_begin(limit=limit, owner=owner, lease=60)


async def express(store: HistoryStore, **new: object) -> str:
    """One that runs."""
    await published(store)
    execution_id = await accepted(store, workflow="quick", **new)
    assert execution_id in ids(await begin_all(store))
    return execution_id


class ExpressSuite:
    async def test_it_is_admitted_and_begun_at_once_and_whole(self, store: HistoryStore) -> None:
        await published(store)
        execution_id = await accepted(store, workflow="quick", event={"body": {"n": 1}})

        [begun_] = await begin_all(store)

        assert begun_ == await get(store, execution_id)
        assert (begun_.status, begun_.mode, begun_.runs) == (Status.RUNNING, Mode.EXPRESS, 1)
        assert (begun_.event, begun_.owner, begun_.flow_run_id) == ({"body": {"n": 1}}, "host/1", None)
        assert begun_.hold == Hold(execution_id, "host/1", 1)
        assert begun_.admitted_at == begun_.started_at == begun_.begun_at == T0

    async def test_only_workflows_that_say_so_are(self, store: HistoryStore) -> None:
        await published(store)
        await published(store, "slow", "standard")
        await published(store, "silent", None)
        quick, slow, silent, unknown = [
            await accepted(store, workflow=name) for name in ("quick", "slow", "silent", "unknown")
        ]

        assert ids(await begin_all(store)) == [quick]
        assert ids(await store.admit(limit=9, claim=60, modes=[Mode.STANDARD])) == [slow]
        assert ids(await store.admit(limit=9, claim=60, modes=[None])) == [silent, unknown]

    async def test_its_limit_is_shared_with_runs_that_prefect_made(self, store: HistoryStore) -> None:
        await published(store, limit=2)
        of_prefect = await accepted(store, workflow="quick", flow_run_id="run-1")
        await begun(store, of_prefect, flow_run_id="run-1")
        first, second = [await accepted(store, workflow="quick", accepted_at=T0 + SECOND * n) for n in range(2)]

        assert ids(await begin_all(store)) == [first]
        assert await store.begin(second, flow_run_id="run-2", owner="host/2", lease=60) is Refusal.FULL
        await finish(store, of_prefect, Status.SUCCEEDED)
        assert (await get(store, of_prefect)).mode is Mode.STANDARD

    async def test_what_prefect_made_a_run_for_is_only_admitted(self, store: HistoryStore) -> None:
        await published(store)
        execution_id = await accepted(store, workflow="quick", flow_run_id="run-1")

        [one] = await begin_all(store)

        assert (one.id, one.status, one.flow_run_id, one.mode) == (execution_id, Status.ACCEPTED, "run-1", None)
        assert (await get(store, execution_id)).admitted_at == T0

    async def test_one_that_was_handed_back_is_begun_again_with_what_it_had_done(self, store: HistoryStore) -> None:
        execution_id = await express(store)
        stale = await hold_of(store, execution_id)
        await save(store, execution_id, a_step("done", output=1))
        assert await store.requeue(stale)

        [again] = await begin_all(store, owner="host/2")

        assert (again.runs, [step.path for step in again.steps]) == (2, ["done"])
        assert await store.save_steps(stale, [a_step("late")]) is False
        assert await store.finish(stale, Status.SUCCEEDED) is False

    async def test_one_that_waited_goes_on(self, store: HistoryStore) -> None:
        execution_id = await express(store)
        await store.park(await hold_of(store, execution_id), [NewWait("ask", WaitKind.SIGNAL, "signal:go")])
        assert ids(await begin_all(store)) == []
        await store.answer("signal:go", {"x": 1}, by=None, keep=60)

        [again] = await begin_all(store)

        assert [(wait.path, wait.answer) for wait in again.waits] == [("ask", {"x": 1})]

    async def test_it_is_found_by_its_own_id_as_a_flow_run(self, store: HistoryStore) -> None:
        execution_id = await express(store)
        assert await store.execution_of_flow_run(execution_id) == await get(store, execution_id)
        await finish(store, execution_id, Status.FAILED, error={"code": "x", "message": "y"})

        retry = await accepted(store, workflow="quick", flow_run_id=execution_id)

        assert (await store.execution_of_flow_run(execution_id)).id == retry  # type: ignore[union-attr]
        assert ids((await store.executions_of_flow_runs([execution_id])).values()) == [retry]  # type: ignore[arg-type]
        assert await store.execution_of_flow_run(retry) is None  # its run is the first one's

    async def test_it_ends_with_its_last_steps_in_one_write(self, store: HistoryStore) -> None:
        execution_id = await express(store)

        hold = await hold_of(store, execution_id)
        await store.finish(hold, Status.SUCCEEDED, steps=[a_step("a", output=[1])], output="done")

        ended = await get(store, execution_id)
        assert ([step.output for step in ended.steps], ended.output) == ([[1]], "done")

    async def test_what_ended_is_unrecorded_until_it_is_noted(self, store: HistoryStore, clock: ManualClock) -> None:
        late, early, runs = [await express(store) for _ in range(3)]
        await save(store, early, a_step("a"))
        await finish(store, early, Status.SUCCEEDED, output=1)
        clock.move(seconds=1)
        await finish(store, late, Status.FAILED)

        unrecorded = await store.unrecorded(limit=9)
        assert list(unrecorded) == [await get(store, early), await get(store, late)]
        assert ids(await store.unrecorded(limit=1)) == [early]

        await store.note_recorded([early, runs], at=T0 + SECOND)
        assert ids(await store.unrecorded(limit=9)) == [late]
        assert (await get(store, early)).recorded_at == T0 + SECOND
        assert (await get(store, runs)).recorded_at is None

    async def test_what_was_recorded_after_a_time_can_be_forgotten(self, store: HistoryStore) -> None:
        assert await store.last_recorded() is None
        executions = [await express(store) for _ in range(3)]
        for hours, one in enumerate(executions):
            await finish(store, one, Status.SUCCEEDED)
            await store.note_recorded([one], at=T0 + hours * HOUR)
        assert await store.last_recorded() == T0 + 2 * HOUR

        assert await store.forget_recorded(after=T0, limit=1) == 1
        assert await store.forget_recorded(after=T0, limit=9) == 1
        assert {*ids(await store.unrecorded(limit=9))} == {*executions[1:]}
        assert await store.forget_recorded(after=None, limit=9) == 1

    async def test_standard_executions_are_never_unrecorded(self, store: HistoryStore) -> None:
        execution_id = await accepted(store)
        assert await admitted(store) == [execution_id]
        await begun(store, execution_id)
        await finish(store, execution_id, Status.SUCCEEDED)

        assert ids(await store.unrecorded(limit=9)) == []
