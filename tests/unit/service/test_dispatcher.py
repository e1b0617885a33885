"""The outbox's second half, against a Prefect that is a function: what it hands over, and what it does if it can't."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from executing import in_yaml, post, steps
from prefect.client.orchestration import PrefectClient
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from store_builders import T0, accepted, get

from flows.history import Execution, Key, MemoryStore, Status, Topic, Trigger
from flows.history.documents import Document, to_document
from flows.on_prefect.internals import BULK_LIMIT
from foundation.clock import ManualClock
from ipaas.admission import looking
from ipaas.admission.dispatcher import CLAIM_SECONDS, Dispatcher
from ipaas.admission.shown import SHOWN_DEPTH, hidden_event, shown_event

FLOW = in_yaml(steps(post("/a")), name="orders")


@dataclass
class Prefect:
    """Takes runs of the deployments it knows, as Prefect's bulk route does; deploys; or fails as it is told."""

    deployments: set[str] = field(default_factory=set)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    failing: dict[str, httpx.Response | Exception] = field(default_factory=dict)
    """By deployment; `""` for all."""
    refuses: str = "no such text"
    """In a run's parameters: the run is refused."""
    asked: list[str] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    """The state types of runs that it made itself, by their ids."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        match [request.method, *request.url.path.removeprefix("/api/").strip("/").split("/")]:
            case ["POST", "deployments", deployment, "create_flow_run", "bulk"]:
                return self._create(deployment, json.loads(request.content))
            case ["GET", "work_pools", name]:
                return httpx.Response(200, json={"id": str(uuid4()), "name": name, "type": "ipaas"})
            case ["POST", "flows"]:
                return httpx.Response(201, json={"id": str(uuid4()), "name": "f"})
            case ["POST", "deployments"]:
                made = str(uuid4())
                self.deployments.add(made)
                return httpx.Response(201, json={"id": made})
            case ["POST", "flow_runs", "filter"]:
                asked = json.loads(request.content)["flow_runs"]["id"]["any_"]
                return httpx.Response(200, json=[self._run(one) for one in asked if one in self.states])
            case ["POST", "flow_runs", run, "set_state"]:
                self.states[run] = json.loads(request.content)["state"]["type"]
                state = {"type": self.states[run], "id": str(uuid4())}
                return httpx.Response(
                    201, json={"status": "ACCEPT", "state": state, "details": {"type": "accept_details"}}
                )
            case _:
                return httpx.Response(404, json={"detail": "not found"})

    def _run(self, run: str) -> dict[str, Any]:
        state = {"type": self.states[run], "name": self.states[run].title(), "id": str(uuid4())}
        return {"id": run, "flow_id": str(uuid4()), "state": state, "state_type": self.states[run]}

    def started(self) -> int:
        return sum(asked.endswith("/set_state") for asked in self.asked)

    def _create(self, deployment: str, runs: list[dict[str, Any]]) -> httpx.Response:
        fault = self.failing.get(deployment) or self.failing.get("")
        if isinstance(fault, Exception):
            raise fault
        if fault is not None:
            return fault
        if deployment not in self.deployments:
            return httpx.Response(404, json={"detail": "Deployment not found"})
        return httpx.Response(201, json={"results": [self._take(run) for run in runs]})

    def _take(self, run: dict[str, Any]) -> dict[str, Any]:
        if self.refuses in json.dumps(run["parameters"]):
            return {"flow_run_id": None, "error": "Invalid"}
        known = self.runs.setdefault(run["idempotency_key"], {"id": str(uuid4()), **run})
        return {"flow_run_id": known["id"]}

    @property
    def shown(self) -> list[Any]:
        return [run["parameters"]["event"]["body"] for run in self.runs.values()]


@pytest.fixture(autouse=True)
def _no_waiting_in_prefects_client() -> Iterator[None]:
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
async def store(clock: ManualClock) -> MemoryStore:
    store = MemoryStore(clock)
    await publish(store, "orders")
    return store


async def publish(store: MemoryStore, name: str, deployment: str | None = None) -> None:
    declaration = FLOW.published.declaration | {"name": name}
    await store.publish(replace(FLOW.published, workflow=name, declaration=declaration))
    if deployment:
        await store.set_deployment(name, deployment)


@pytest.fixture
async def prefect(store: MemoryStore) -> Prefect:
    deployment = str(uuid4())
    await store.set_deployment("orders", deployment)
    return Prefect(deployments={deployment})


@pytest.fixture
async def client(prefect: Prefect) -> AsyncIterator[PrefectClient]:
    settings = {"transport": httpx.MockTransport(prefect)}
    async with PrefectClient("http://prefect.test/api", httpx_settings=settings) as client:
        yield client


@pytest.fixture
def handing_over(store: MemoryStore, client: PrefectClient, clock: ManualClock) -> Dispatcher:
    return Dispatcher(store, client)


async def claimable(store: MemoryStore, clock: ManualClock) -> list[str]:
    found = await store.admit(limit=1000, claim=0)
    return [execution.id for execution in found]


async def ids_by_age(store: MemoryStore) -> list[str]:
    page = await store.executions(limit=1000)
    return [one.id for one in sorted(page.items, key=lambda one: one.accepted_at)]


# What is handed over


async def test_an_execution_becomes_a_run_that_knows_it(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    execution_id = await accepted(store)

    assert await handing_over.dispatch_once() == 1

    [run] = prefect.runs.values()
    assert (await get(store, execution_id)).flow_run_id == run["id"]
    assert run["name"] == f"orders/{execution_id}"
    assert run["labels"] == {
        "ipaas.execution": execution_id,
        "ipaas.workflow": "orders",
        "ipaas.version": "v1",
    }
    assert execution_id in run["idempotency_key"]
    assert run["parameters"]["event"]["body"] == {"amount": 12}
    assert run["tags"] == ["webhook"]


async def test_nothing_is_handed_over_twice(store: MemoryStore, prefect: Prefect, handing_over: Dispatcher) -> None:
    await accepted(store)

    assert [await handing_over.dispatch_once() for _ in range(2)] == [1, 0]

    assert len(prefect.runs) == 1


async def test_the_oldest_are_handed_over_first(store: MemoryStore, prefect: Prefect, handing_over: Dispatcher) -> None:
    for n in (3, 1, 2):
        await accepted(store, event={"body": n}, accepted_at=T0 + timedelta(seconds=n))

    await handing_over.dispatch_once()

    assert prefect.shown == [1, 2, 3]


async def test_who_counts_is_told(store: MemoryStore, client: PrefectClient, clock: ManualClock) -> None:
    execution_id, told = await accepted(store), list[Execution]()

    await Dispatcher(store, client, told.extend).dispatch_once()

    assert [execution.id for execution in told] == [execution_id]


# What may be


async def test_prefect_gets_what_may_run_and_not_the_flood(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    await store.set_limit("orders", 3)
    for n in range(5):
        await accepted(store, event={"body": n}, accepted_at=T0 + timedelta(seconds=n))

    assert [await handing_over.dispatch_once() for _ in range(2)] == [3, 0]
    assert prefect.shown == [0, 1, 2]

    execution = await store.begin((await ids_by_age(store))[0], flow_run_id=None, owner="host/1", lease=60)
    assert isinstance(execution, Execution)
    await store.finish(execution.hold, Status.SUCCEEDED)

    assert await handing_over.dispatch_once() == 1
    assert prefect.shown == [0, 1, 2, 3]


async def test_one_workflows_long_queue_does_not_keep_anothers_from_prefect(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    await store.set_limit("orders", 10_000)
    await publish(store, "bills", other := str(uuid4()))
    prefect.deployments.add(other)
    for n in range(300):
        await accepted(store, event={"body": n}, accepted_at=T0 + timedelta(seconds=n))
    await accepted(store, workflow="bills", event={"body": "bill"}, accepted_at=T0 + timedelta(hours=1))

    await handing_over.dispatch_once()

    assert len(prefect.runs) == BULK_LIMIT
    assert "bill" in prefect.shown


async def test_beyond_the_limit_of_a_workflow_that_says_so_executions_are_cancelled(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    declaration = FLOW.published.declaration | {"concurrency": {"limit": 1, "overflow": "cancel"}}
    await store.publish(replace(FLOW.published, version="v2", declaration=declaration))
    runs, waits = await accepted(store), await accepted(store, accepted_at=T0 + timedelta(seconds=1))

    await handing_over.dispatch_once()

    assert [(await get(store, one)).status for one in (runs, waits)] == [Status.ACCEPTED, Status.CANCELLED]
    assert len(prefect.runs) == 1


async def test_large_events_are_not_read_to_be_handed_over(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    await accepted(store, event={"body": "x" * 100_000})

    await handing_over.dispatch_once()

    [run] = prefect.runs.values() if isinstance(prefect.runs, dict) else prefect.runs
    assert "it is large" in json.dumps(run)


# Runs that Prefect made


async def of_prefect(store: MemoryStore, prefect: Prefect, state: str) -> tuple[str, str]:
    """An execution that a worker found the limit reached for, and its run."""
    run = str(uuid4())
    prefect.states[run] = state
    return await accepted(store, flow_run_id=run), run


async def test_a_run_that_waited_in_prefect_is_started_when_its_turn_comes(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    await store.set_limit("orders", 0)
    execution_id, run = await of_prefect(store, prefect, "SCHEDULED")
    await handing_over.dispatch_once()
    before = prefect.started()
    await store.set_limit("orders", 1)

    await handing_over.dispatch_once()

    assert (before, prefect.started(), prefect.runs) == (0, 1, {})
    assert (await get(store, execution_id)).flow_run_id == run


async def test_a_run_that_is_just_being_put_back_is_started_after_that(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    _, run = await of_prefect(store, prefect, "RUNNING")
    await handing_over.dispatch_once()
    before = prefect.started()
    prefect.states[run] = "SCHEDULED"

    await handing_over.dispatch_once()

    assert (before, prefect.started()) == (0, 1)


async def test_a_run_that_has_ended_is_left_to_the_workers(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    await of_prefect(store, prefect, "CANCELLED")

    for _ in range(2):
        await handing_over.dispatch_once()

    assert (prefect.started(), prefect.runs) == (0, {})


async def test_a_run_that_was_deleted_meanwhile_is_made_anew(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    execution_id, run = await of_prefect(store, prefect, "SCHEDULED")
    prefect.states.clear()

    await handing_over.dispatch_once()
    await handing_over.dispatch_once()

    [made] = prefect.runs.values()
    assert (await get(store, execution_id)).flow_run_id == made["id"] != run


async def test_a_run_that_could_not_be_started_while_prefect_was_away_is_started_later(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    await of_prefect(store, prefect, "SCHEDULED")

    def away(self: Prefect, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prefect, "__call__", away)
        with pytest.raises(httpx.HTTPError):
            await handing_over.dispatch_once()

    await handing_over.dispatch_once()

    assert prefect.started() == 1


# What can't be


@pytest.mark.parametrize("away", [httpx.ConnectError("refused"), httpx.Response(502)], ids=["refused", "502"])
async def test_while_prefect_is_away_the_claims_are_released(
    store: MemoryStore,
    prefect: Prefect,
    handing_over: Dispatcher,
    clock: ManualClock,
    away: Any,
) -> None:
    accepted_ids = [await accepted(store), await accepted(store)]
    prefect.failing = {"": away}

    with pytest.raises(httpx.HTTPError):
        await handing_over.dispatch_once()

    assert await claimable(store, clock) == accepted_ids


async def test_a_deployment_that_is_gone_is_made_again(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    prefect.deployments.clear()
    execution_id = await accepted(store)

    await handing_over.dispatch_once()

    [deployment] = prefect.deployments
    workflow = await store.workflow("orders")
    assert workflow is not None
    assert workflow.deployment_id == deployment
    assert (await get(store, execution_id)).flow_run_id is not None
    assert f"ipaas:{deployment}:{execution_id}" in prefect.runs


async def test_one_workflows_fault_does_not_hold_up_the_others(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher, clock: ManualClock
) -> None:
    broken = str(uuid4())
    await publish(store, "broken", broken)
    prefect.failing = {broken: httpx.Response(422, json={"detail": "no"})}
    stuck = await accepted(store, workflow="broken", accepted_at=T0 - timedelta(hours=1))
    fine = await accepted(store)

    assert await handing_over.dispatch_once() == 2

    assert (await get(store, fine)).flow_run_id is not None
    assert await handing_over.dispatch_once() == 0  # not at once again: there may be thousands of them
    prefect.failing, prefect.deployments = {}, prefect.deployments | {broken}
    clock.move(seconds=CLAIM_SECONDS)
    assert await handing_over.dispatch_once() == 1
    assert (await get(store, stuck)).flow_run_id is not None


async def test_an_event_that_prefect_refuses_is_handed_over_without_being_shown(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher
) -> None:
    prefect.refuses = "poison"
    executions = [await accepted(store, event={"id": "e", "body": body}) for body in ("poison", "fine")]

    await handing_over.dispatch_once()

    assert all([(await get(store, one)).flow_run_id for one in executions])
    assert sorted(prefect.shown) == ["fine", "not shown here: Prefect did not take it; see the execution's event"]


async def test_it_goes_on_when_prefect_is_back(
    store: MemoryStore, prefect: Prefect, handing_over: Dispatcher, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(looking, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(looking, "MAX_BACKOFF_SECONDS", 0.004)
    prefect.failing = {"": httpx.ConnectError("refused")}
    execution_id = await accepted(store)
    running = asyncio.create_task(handing_over.run())

    with caplog.at_level(logging.WARNING, "ipaas.dispatcher"):
        async with asyncio.timeout(10):
            while caplog.text.count("trying again in 0.004 s") < 2:
                await asyncio.sleep(0.001)
    assert "trying again in 0.001 s" in caplog.text
    prefect.failing = {}
    async with asyncio.timeout(10):
        while not (await get(store, execution_id)).flow_run_id:
            await asyncio.sleep(0.001)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("by_notice", [True, False], ids=["a notice", "a poke"])
async def test_who_is_woken_starts_it_at_once(
    store: MemoryStore, handing_over: Dispatcher, monkeypatch: pytest.MonkeyPatch, by_notice: bool
) -> None:
    monkeypatch.setattr(looking, "TICK_SECONDS", 3600)
    running = asyncio.create_task(handing_over.run())
    await asyncio.sleep(0.01)
    execution_id = await accepted(store)

    if by_notice:
        store.announce(Topic.ACCEPTED)
    else:
        handing_over.poke()

    async with asyncio.timeout(10):
        while not (await get(store, execution_id)).flow_run_id:
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# What Prefect is shown


def nested(levels: int) -> Any:
    value: Any = "x"
    for n in range(levels):
        value = [value] if n % 2 else {"a": value}
    return value


EVENT = {"id": "e", "body": {"n": 1}, "headers": {"a": "b"}, "query": {}, "received_at": "2026-01-01T00:00:00Z"}


def handed_over(event: dict[str, Any]) -> Execution:
    """An execution with this event, as admission gets it."""
    text = Document(to_document(event))
    return Execution("e1", "orders", "v1", Trigger.WEBHOOK, Status.ACCEPTED, text, accepted_at=T0)


@pytest.mark.parametrize(
    "harmless",
    [
        {},
        {"body": None},
        {"body": "€ and \U0001f600"},
        {"body": nested(SHOWN_DEPTH - 1)},
        {"body": 10**40},
    ],
)
def test_an_event_is_shown_as_it_is(harmless: dict[str, Any]) -> None:
    assert shown_event(handed_over(EVENT | harmless)) == EVENT | harmless


@pytest.mark.parametrize(
    ("hostile", "because"),
    [
        ({"body": {"__prefect_kind": "jinja"}}, "act on"),
        ({"body": [{"a": {"__prefect_kind": "jinja"}}]}, "act on"),
        ({"body": json.loads('{"\\u005f_prefect\\u005fkind": "jinja"}')}, "act on"),
        ({"body": '{"__prefect_kind": "jinja"}'}, "act on"),
        ({"headers": {"__prefect_kind": "jinja"}}, "act on"),
        ({"query": {"__prefect_kind": ["jinja"]}}, "act on"),
        ({"body": nested(SHOWN_DEPTH + 1)}, "levels deep"),
        ({"body": "\ud800"}, "UTF-8"),
        ({"body": {"\udfff": 1}}, "UTF-8"),
        ({"body": float("inf")}, "UTF-8"),
        ({"body": "a\0b"}, "NUL"),
    ],
)
def test_an_event_that_is_not_for_prefect_is_not_shown(hostile: dict[str, Any], because: str) -> None:
    execution = handed_over(EVENT | hostile)

    shown = shown_event(execution)

    assert set(shown) == {"received_at", "body"}
    assert shown == hidden_event(
        execution.accepted_at, shown["body"].removeprefix("not shown here: ").partition(";")[0]
    )
    assert because in shown["body"]
    assert "prefect_kind" not in json.dumps(shown)


async def test_what_falls_due_is_handed_over_before_the_next_tick(
    store: MemoryStore,
    prefect: Prefect,
    handing_over: Dispatcher,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looking, "TICK_SECONDS", 3600)
    declaration = FLOW.published.declaration | {"debounce": {"quiet": 0.02}}
    await store.publish(replace(FLOW.published, version="v2", declaration=declaration))
    execution_id = await accepted(store, keys=[Key.made("debounce", "", "")])
    running = asyncio.create_task(handing_over.run())
    await asyncio.sleep(0.01)
    assert not prefect.runs

    clock.move(seconds=0.02)
    async with asyncio.timeout(10):
        while not prefect.runs:
            await asyncio.sleep(0.005)
    running.cancel()

    assert [run["labels"]["ipaas.execution"] for run in prefect.runs.values()] == [execution_id]
