"""What we rely on in Prefect that is no promise of Prefect's: the first to fail when a new version changes it.

Each test is of a trap or a property that `flows/on_prefect/internals.py`, a pin in `pyproject.toml` or the environment
of `ipaas/platform/environment.py` is there for.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from on_prefect import Deployed, deployed, with_body
from prefect import State
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events import Event as PrefectEvent
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter
from prefect.exceptions import Abort, PrefectHTTPStatusError
from prefect.server.database import provide_database_interface
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.events.services import event_persister
from prefect.states import Completed, Crashed, Failed, Running, Scheduled
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from store_builders import accepted, get

from blocks import BLOCK_TYPES, BearerToken, Keyring, load_credential, use_keyring
from connectors import log
from flows.engine.failures import HeldElsewhere
from flows.engine.program import Run
from flows.engine.runtime import Runtime
from flows.history import NewWait, Status, Trigger, WaitKind, step_address
from flows.language.event import Event
from flows.on_prefect.deployment import WORK_POOL
from flows.on_prefect.internals import (
    BULK_LIMIT,
    create_flow_runs,
    current_flow_run,
    run_flow,
    take_flow_run,
    warm_engine,
    write_events_once,
)
from flows.on_prefect.pausing import RESUMING, WAITING, decide_by_resume
from flows.on_prefect.python_source import workflow
from ipaas.admission.dispatcher import Dispatcher
from ipaas.platform.prepare import register_block_types

pytestmark = pytest.mark.usefixtures("prefect_settings")


# Creating runs


async def test_a_known_idempotency_key_is_answered_with_the_first_run(client: PrefectClient) -> None:
    one = await deployed(client)
    run = {"idempotency_key": "key-1", "parameters": {"event": {}}}

    assert await create_flow_runs(client, one.id, [run]) == await create_flow_runs(client, one.id, [run])


async def test_idempotency_keys_are_kept_per_flow_not_per_deployment(client: PrefectClient) -> None:
    """Why the deployment's id is part of `idempotency_key`."""
    one = await deployed(client)
    other = await client.create_deployment(flow_id=(await client.read_deployment(one.id)).flow_id, name="other")
    run = {"idempotency_key": "key-1", "parameters": {"event": {}}}

    assert await create_flow_runs(client, one.id, [run]) == await create_flow_runs(client, other, [run])


async def test_a_batch_beyond_the_limit_is_refused_and_says_the_limit(client: PrefectClient) -> None:
    one = await deployed(client)
    with pytest.raises(PrefectHTTPStatusError) as refused:
        await create_flow_runs(client, one.id, [{"parameters": {}}] * (BULK_LIMIT + 1))
    assert refused.value.response.status_code == 400
    assert f"more than {BULK_LIMIT} flow runs at once" in refused.value.response.text


async def test_a_deployment_that_is_gone_is_a_404(client: PrefectClient) -> None:
    with pytest.raises(PrefectHTTPStatusError) as gone:
        await create_flow_runs(client, uuid4(), [{"parameters": {}}])
    assert gone.value.response.status_code == 404


async def test_fifty_runs_are_created_at_once_on_sqlite(prefect_api: str, client: PrefectClient) -> None:
    """`use_immediate_transactions`. The plain HTTP client doesn't try again as Prefect's does."""
    one = await deployed(client)
    async with httpx.AsyncClient(base_url=prefect_api, trust_env=False, timeout=60) as http:
        made = [http.post(f"/deployments/{one.id}/create_flow_run", json={"parameters": {}}) for _ in range(50)]
        answers = await asyncio.gather(*made)

    assert {answer.status_code for answer in answers} == {201}


@pytest.fixture
async def events() -> AsyncIterator[AsyncSession]:
    """A database of Prefect's, of nothing but events."""
    database = provide_database_interface()
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        for table in (database.Event.__table__, database.EventResource.__table__):
            await connection.run_sync(table.create)
    async with AsyncSession(engine) as session:
        yield session
    await engine.dispose()


def an_event() -> ReceivedEvent:
    return ReceivedEvent(occurred=datetime.now(UTC), event="told", resource={"prefect.resource.id": "one"}, id=uuid4())


async def test_prefect_refuses_events_that_come_again(events: AsyncSession) -> None:
    """Why there is `write_events_once`."""
    persister: Any = event_persister
    event = an_event()
    with pytest.raises(IntegrityError):
        await persister.write_events(session=events, events=[event, event])
    await events.rollback()
    await persister.write_events(session=events, events=[event])
    with pytest.raises(IntegrityError):
        await persister.write_events(session=events, events=[event])


async def test_events_that_come_again_are_written_once(events: AsyncSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """`write_events_once`."""
    persister: Any = event_persister
    monkeypatch.setattr(persister, "write_events", persister.write_events)  # as it was, afterwards
    write_events_once()
    one, other = an_event(), an_event()
    for batch in ([one, one], [one], [one, other]):
        await persister.write_events(session=events, events=batch)
    written = await events.scalars(select(provide_database_interface().Event.id))
    assert sorted(written) == sorted([one.id, other.id])


async def test_a_scheduled_run_is_pushed_to_who_listens(client: PrefectClient) -> None:
    one = await deployed(client)
    pool = f"prefect.work-pool.{(await client.read_work_pool(WORK_POOL)).id}"
    of_pool = EventFilter(any_resource=EventAnyResourceFilter(id=[pool]))
    async with get_events_subscriber(filter=of_pool) as subscriber:
        run = await one.create()
        async with asyncio.timeout(30):
            event = await _event_of(run, subscriber)

    assert event.event == "prefect.flow-run.Scheduled"
    assert {pool, f"prefect.deployment.{one.id}"} <= {related.id for related in event.related}


async def _event_of(run: FlowRun, subscriber: Any) -> PrefectEvent:
    async for event in subscriber:
        if event.resource.id == f"prefect.flow-run.{run.id}":
            found: PrefectEvent = event
            return found
    raise AssertionError("the stream ended")


async def test_a_schedule_makes_runs(client: PrefectClient) -> None:
    """With SQLAlchemy 2.1, Prefect 3.8.8 makes none."""
    one = await deployed(
        client, "triggers: [{schedule: {every: 1h}}]\nsteps: [{id: a, uses: log.message, with: {text: x}}]"
    )

    async with asyncio.timeout(60):
        while not (runs := await client.get_scheduled_flow_runs_for_deployments([one.id])):
            await asyncio.sleep(0.2)
    assert all(run.auto_scheduled for run in runs)


async def test_the_server_understands_its_own_client(client: PrefectClient) -> None:
    """With fastapi 0.151 and later, Prefect 3.8.8's server refuses the bodies of some of its client's requests."""
    one = await deployed(client)
    run = await one.create()

    await client.set_flow_run_state(run.id, Completed(), force=True)

    assert [found.id for found in await client.read_flow_runs(limit=1)]
    assert await client.get_scheduled_flow_runs_for_work_pool(WORK_POOL, scheduled_before=datetime.now(UTC)) is not None


# What the server does with parameters


async def test_prefect_acts_on_what_parameters_say(client: PrefectClient) -> None:
    """What `shown_event` guards against: the server renders parameters that hold `__prefect_kind`."""
    one = await deployed(client)
    template = {"__prefect_kind": "jinja", "template": "{{ 7 * 7 }}"}

    run = await one.create(parameters={"event": {"body": template}})

    assert run.parameters == {"event": {"body": "49"}}


async def test_a_run_with_deeply_nested_parameters_can_not_be_read_any_more(client: PrefectClient) -> None:
    """Nor can any list that it is in, as the one of a whole work pool's scheduled runs."""
    one = await deployed(client)
    deployment = await client.create_deployment(
        flow_id=(await client.read_deployment(one.id)).flow_id, name="outside-of-the-pool"
    )
    [made] = await create_flow_runs(client, deployment, [{"parameters": {"event": _nested(300)}}])
    try:
        with pytest.raises(PrefectHTTPStatusError) as broken:
            await client.read_flow_run(UUID(str(made)))
        assert broken.value.response.status_code == 500
    finally:
        await client.delete_flow_run(UUID(str(made)))


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


HOSTILE: dict[str, dict[str, Any]] = {
    "body": {"body": {"a": [{"__prefect_kind": "jinja", "template": "{{ 7 * 7 }}"}]}},
    "unknown kind": {"body": {"__prefect_kind": "none-such"}},
    "missing variable": {"body": {"__prefect_kind": "workspace_variable", "variable_name": "none"}},
    "headers": {"headers": {"__prefect_kind": "jinja", "template": "{{ 7 * 7 }}"}},
    "query of a large body": {"query": {"__prefect_kind": "json", "value": "{}"}, "body": "x" * 100_000},
    "large": {"query": {"q": "x" * 600_000}},
    "deep": {"body": _nested(900)},
    "half of a surrogate pair": {"body": "\ud800"},
    "beyond a double": {"body": float("inf")},
    "nul": {"body": "\0"},
}


async def test_no_event_keeps_others_from_prefect_or_gives_it_instructions(
    client: PrefectClient, prefect_api: str
) -> None:
    one = await deployed(client)
    event = {"id": "e", "body": None, "headers": {}, "query": {}, "received_at": None}
    for hostile in HOSTILE.values():
        await accepted(one.store, workflow=one.name, version=one.flow.published.version, event=event | hostile)
    harmless = await accepted(one.store, workflow=one.name, version=one.flow.published.version)

    await one.store.set_limit(one.name, 100)
    assert await Dispatcher(one.store, client).dispatch_once() == len(HOSTILE) + 1

    page = await one.store.executions()
    runs = [await client.read_flow_run(UUID(str(execution.flow_run_id))) for execution in page.items]
    shown = {str(run.labels["ipaas.execution"]): run.parameters["event"]["body"] for run in runs}
    assert shown.pop(harmless) == {"amount": 12}
    assert all(str(body).startswith("not shown here: ") for body in shown.values()), shown
    assert len(await client.get_scheduled_flow_runs_for_work_pool(WORK_POOL, scheduled_before=datetime.now(UTC)))


# Taking and running


async def test_a_limit_is_taken_with_pending_and_its_slot_has_a_lease(client: PrefectClient) -> None:
    one = await deployed(client, "concurrency: 1\nsteps: [{id: a, uses: log.message, with: {text: x}}]")
    first, second = await one.create_all([{}, {}])

    assert await take_flow_run(client, first)
    assert not await take_flow_run(client, second)

    taken, waiting = (await one.now(first)).state, (await one.now(second)).state
    assert taken is not None
    assert waiting is not None
    assert taken.state_details.deployment_concurrency_lease_id is not None
    assert (waiting.type, waiting.name) == (StateType.SCHEDULED, "AwaitingConcurrencySlot")
    assert await one.slots_taken() == 1


async def test_with_overflow_cancel_prefect_only_makes_wait(client: PrefectClient) -> None:
    """A slot that is free in the history is free in Prefect a moment later: the history cancels, not Prefect."""
    one = await deployed(
        client, "concurrency: {limit: 1, overflow: cancel}\nsteps: [{id: a, uses: log.message, with: {text: x}}]"
    )
    first, second = await one.create_all([{}, {}])

    assert await take_flow_run(client, first)
    assert not await take_flow_run(client, second)

    state = (await one.now(second)).state
    assert state is not None
    assert (state.type, state.name) == (StateType.SCHEDULED, "AwaitingConcurrencySlot")


async def test_running_without_pending_would_go_past_the_limit(client: PrefectClient) -> None:
    """Why every run is taken with `take_flow_run`."""
    one = await deployed(client, "concurrency: 1\nsteps: [{id: a, uses: log.message, with: {text: x}}]")
    first, second = await one.create_all([{}, {}])
    await take_flow_run(client, first)

    await client.set_flow_run_state(second.id, Running())

    assert await one.state(second) is StateType.RUNNING
    assert await one.slots_taken() == 1


async def test_a_crash_gives_the_slot_back_and_the_run_may_be_scheduled_again(client: PrefectClient) -> None:
    one = await deployed(client, "concurrency: 1\nsteps: [{id: a, uses: log.message, with: {text: x}}]")
    run = await one.create()
    await take_flow_run(client, run)
    await client.set_flow_run_state(run.id, Running())

    await client.set_flow_run_state(run.id, Crashed())
    assert await one.slots_taken() == 0
    await client.set_flow_run_state(run.id, Scheduled())

    assert await take_flow_run(client, await one.now(run))
    assert await one.slots_taken() == 1


async def test_a_run_is_taken_once(client: PrefectClient) -> None:
    one = await deployed(client)
    run = await one.create()
    assert await take_flow_run(client, run)

    with pytest.raises(Abort):
        await take_flow_run(client, run)


async def test_a_run_that_has_ended_can_be_taken_by_who_fetched_it_before(client: PrefectClient) -> None:
    """Why a run that runs a further time is not believed to have been asked to, see `was_scheduled_again`."""
    one = await deployed(client)
    run = await one.create()
    await client.set_flow_run_state(run.id, Failed(), force=True)

    assert await take_flow_run(client, run)


async def test_what_failed_runs_again_when_it_was_asked_to_and_not_because_it_was_taken_twice(
    client: PrefectClient, runtime: Runtime
) -> None:
    one = await deployed(client)
    bodies: list[Any] = []

    async def fail(run: Run) -> None:
        bodies.append(run.event.body)
        raise ValueError("as it should")

    run = await one.create()
    for _ in range(2):
        assert (await ran(one, run, with_body(one, fail))).is_failed()
    assert bodies == [1]

    await client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry"), force=True)
    assert (await ran(one, await one.now(run), with_body(one, fail))).is_failed()

    assert bodies == [1, 1]
    retried, first = (await runtime.store.executions()).items
    assert (retried.trigger, retried.replay_of) == (Trigger.REPLAY, first.id)


async def test_a_run_knows_itself_from_inside(client: PrefectClient, runtime: Runtime) -> None:
    """`current_flow_run` has the labels, the key, the count of runs; and no thread watches for "Suspend"."""
    one = await deployed(client)
    seen: list[FlowRun | None] = []
    threads: list[str] = []

    async def look(run: Run) -> None:
        seen.append(current_flow_run())
        threads.extend(thread.name for thread in threading.enumerate())

    run = await one.create(labels={"ipaas.workflow": one.name}, idempotency_key="key-1", name="the-name")
    state = await ran(one, run, with_body(one, look))

    [inside] = seen
    assert inside is not None
    assert (inside.id, inside.name, inside.idempotency_key, inside.run_count) == (run.id, "the-name", "key-1", 1)
    assert inside.labels["ipaas.workflow"] == one.name
    assert inside.deployment_id == one.id
    assert not [name for name in threads if "observer_thread" in name]
    assert state.is_completed()
    assert await one.state(run) is StateType.COMPLETED


async def test_a_run_that_goes_on_after_a_crash_counts_its_runs(client: PrefectClient, runtime: Runtime) -> None:
    """How "Retry" in Prefect's UI is told from the first run."""
    one = await deployed(client)
    counts: list[int] = []

    async def crash(run: Run) -> None:
        run = current_flow_run()
        counts.append(run.run_count if run else 0)
        if len(counts) == 1:
            raise asyncio.CancelledError

    run = await one.create()
    with pytest.raises(asyncio.CancelledError):
        await ran(one, run, with_body(one, crash))
    assert await one.state(run) is StateType.CRASHED
    await client.set_flow_run_state(run.id, Scheduled())
    await ran(one, await one.now(run), with_body(one, crash))

    assert counts == [1, 2]


async def test_a_flow_that_returns_cancelled_is_cancelled(client: PrefectClient, runtime: Runtime) -> None:
    one = await deployed(client)

    async def cancel(run: Run) -> None:
        await runtime.store.request_cancel(run.scope["execution"]["id"], by="the API", reason="")
        await runtime.look_after()
        await asyncio.sleep(60)

    run = await one.create()
    assert (await ran(one, run, with_body(one, cancel))).is_cancelled()

    state = (await one.now(run)).state
    assert state is not None
    assert (state.type, state.message) == (StateType.CANCELLED, "cancelled through the API")


async def test_abort_leaves_the_run_as_it_is_and_does_not_say_that_it_finished(
    client: PrefectClient, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    one = await deployed(client)

    async def abort(run: Run) -> None:
        raise HeldElsewhere

    run = await one.create()
    with pytest.raises(Abort), caplog.at_level(logging.INFO, "prefect.flow_runs"):
        await ran(one, run, with_body(one, abort))

    assert await one.state(run) is StateType.RUNNING
    assert "Beginning flow run" in caplog.text
    assert "Finished in state" not in caplog.text


async def test_a_run_that_waits_is_paused_without_a_slot_and_resume_schedules_it(
    client: PrefectClient, runtime: Runtime
) -> None:
    """`flows/on_prefect/pausing.py`: that the run leaves its slot, what "Resume" leaves, and how the state is named."""
    one = await deployed(client)
    run = await one.create()
    asked = {"message": "Refund?", "form": {"type": "object"}}

    async def parks(run: Run) -> None:
        address = step_address(run.steps.execution_id, "ask")
        await run.steps.parking.park(NewWait("ask", WaitKind.APPROVAL, address, None, asked))

    with pytest.raises(Abort):
        await ran(one, run, with_body(one, parks))
    paused = (await one.now(run)).state
    assert paused is not None
    assert (paused.type, paused.name) == (StateType.PAUSED, WAITING)
    assert await one.slots_taken() == 0

    said = {"approved": False, "form": {"note": "no"}}
    await client.resume_flow_run(run.id, run_input=said)

    resumed = await one.now(run)
    assert (resumed.state_type, resumed.state_name) == (StateType.SCHEDULED, RESUMING)
    await decide_by_resume(runtime.store, client, resumed)
    [execution] = (await runtime.store.executions()).items
    [wait_] = (await get(runtime.store, execution.id)).waits
    assert (wait_.answer, wait_.answered_by) == (said, "Prefect")


async def test_the_slots_lease_is_held_while_the_run_runs_and_renewed_from_one_place(
    client: PrefectClient, runtime: Runtime
) -> None:
    one = await deployed(client)
    run = await one.create()
    assert await take_flow_run(client, run)
    state = (await one.now(run)).state
    assert state is not None
    lease = state.state_details.deployment_concurrency_lease_id

    async with warm_engine() as engine:

        async def renew(run: Run) -> None:
            assert engine._leases == {lease}
            await engine.renew_leases(client)

        await run_flow(with_body(one, renew), run)
        assert engine._leases == set()
        async with engine.hold_lease(uuid4()):
            await engine.renew_leases(client)  # Prefect does not know it: it is let go
            assert engine._leases == set()
    assert await one.slots_taken() == 0


@pytest.mark.usefixtures("runtime")
async def test_a_run_in_a_warm_process_leaves_sigterm_to_the_process(client: PrefectClient) -> None:
    """In Prefect's hands SIGTERM would raise in the run, and the worker could not let it end first."""
    one, before = await deployed(client), signal.getsignal(signal.SIGTERM)
    seen = []

    async def look(run: Run) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    assert (await ran(one, await one.create(), with_body(one, look))).is_completed()
    assert seen == [before]


async def test_a_step_after_one_that_failed_and_may_runs(client: PrefectClient, runtime: Runtime) -> None:
    """Prefect starts no task that waits for a failed one, unless it is told that it may fail."""
    one = await deployed(
        client,
        """
steps:
  - {id: broken, uses: http.request, with: {url: "https://sink.test/"}, on_error: continue}
  - {id: next, uses: log.message, with: {text: "{{ steps.broken.status }}"}}
""",
    )

    assert (await ran(one, await one.create(), one.flow)).is_completed()

    [listed] = (await runtime.store.executions()).items
    execution = await runtime.store.execution(listed.id)
    assert execution is not None
    assert [(step.path, step.status) for step in execution.steps] == [
        ("broken", Status.FAILED),
        ("next", Status.SUCCEEDED),
    ]


async def test_actions_run_in_the_task_that_calls_them(client: PrefectClient, runtime: Runtime) -> None:
    """So that what an author calls one after the other is told from what is called side by side."""
    one = await deployed(client)

    @workflow(name="side-by-side")
    async def side_by_side(event: Event) -> None:
        await log.message(text="first")
        await asyncio.gather(log.message(text="a"), log.message(text="b"))
        await log.message(text="last")

    assert (await ran(one, await one.create(), side_by_side)).is_completed()

    [listed] = (await runtime.store.executions()).items
    execution = await runtime.store.execution(listed.id)
    assert execution is not None
    ids = [step.path for step in execution.steps]
    assert (ids[0], ids[-1]) == ("log.message", "log.message-2")
    assert len({one.removeprefix("log.message-") for one in ids[1:3]}) == 2
    assert all(len(one) == len("log.message-") + 8 for one in ids[1:3])


async def ran(one: Deployed, run: FlowRun, flow: Any) -> State[Any]:
    assert await take_flow_run(one.client, run)
    async with warm_engine():
        return await run_flow(flow, run)


# Blocks


@pytest.fixture
def keyring(prefect_server: Any) -> Iterator[Keyring]:
    """The one the server seals with."""
    keyring = Keyring.from_settings(prefect_server.settings)
    use_keyring(keyring)
    yield keyring
    use_keyring(None)


async def test_our_credential_types_are_among_the_blocks(client: PrefectClient) -> None:
    await register_block_types(client)

    known = {found.slug: found for found in await client.read_block_types()}

    assert set(BLOCK_TYPES) <= set(known)


async def test_what_is_typed_into_the_block_form_is_stored_sealed(
    client: PrefectClient, prefect_api: str, keyring: Keyring
) -> None:
    """POST and PATCH as Prefect's UI sends them; what it shows as `********` and sends back is kept."""
    await register_block_types(client)
    kind = await client.read_block_type_by_slug("bearer")
    schema = await client.get_most_recent_block_schema_for_block_type(kind.id)
    assert schema is not None
    async with httpx.AsyncClient(base_url=prefect_api, trust_env=False, timeout=30) as http:

        async def stored() -> dict[str, Any]:
            answer = await http.get(f"/block_documents/{document}", params={"include_secrets": True})
            data: dict[str, Any] = answer.json()["data"]
            return data

        form = {"name": "typed", "block_type_id": str(kind.id), "block_schema_id": str(schema.id)}
        made = await http.post("/block_documents/", json=form | {"data": {"token": "s3cret-1"}})
        document = made.json()["id"]
        assert made.status_code == 201
        assert "s3cret" not in made.text
        first = (await stored())["token"]
        assert Keyring.is_sealed(first)

        changed = {"block_schema_id": str(schema.id), "data": {"token": "********", "previous": ["s3cret-0"]}}
        assert (await http.patch(f"/block_documents/{document}", json=changed)).status_code == 204
        kept = await stored()
        assert kept["token"] == first
        assert Keyring.is_sealed(kept["previous"][0])

        changed = {"block_schema_id": str(schema.id), "data": {"token": "s3cret-2"}}
        assert (await http.patch(f"/block_documents/{document}", json=changed)).status_code == 204

    assert (await load_credential("typed", BearerToken)).reveal("token") == "s3cret-2"
    assert Keyring.is_sealed((await client.read_block_document(UUID(document), include_secrets=True)).data["token"])
