"""Everything we rely on in Prefect that is not a promise of Prefect's. Nothing outside this module may.

Each function says what it relies on; `tests/integration/test_prefect_contract.py` holds a test for each, so that a new
Prefect version that changes it fails there first.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest import mock
from uuid import UUID

import httpx
from prefect import Flow, State, flow_engine, results
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateDetails
from prefect.context import AsyncClientContext, FlowRunContext
from prefect.exceptions import Abort
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Pending
from prefect.telemetry.run_telemetry import LABELS_TRACEPARENT_KEY
from prefect.utilities.engine import propose_state

if TYPE_CHECKING:
    from prefect.server.database.configurations import AioSqliteConfiguration

BULK_LIMIT = 100
"""How many runs `create_flow_run/bulk` takes at once (`prefect/server/api/deployments.py`, BULK_CREATE_LIMIT)."""


TRACE_LABEL = LABELS_TRACEPARENT_KEY
"""Prefect's own span of a flow run begins below the `traceparent` that stands in this label when the run is created."""

DEFAULT_STORAGE_LOOKUP = "_read_server_default_result_storage_block_id"
EVENTS_LOOKED_UP = 500
"""How many events are looked up in one statement: SQLite takes 999 parameters where it is oldest."""

LEASE_SECONDS = 300.0
"""How long a slot of a deployment's limit is held without renewal (`core_policy.py`, SecureFlowConcurrencySlots)."""


async def create_flow_runs(
    client: PrefectClient, deployment_id: UUID, runs: Sequence[Mapping[str, Any]]
) -> list[str | Exception]:
    """Creates up to BULK_LIMIT runs of a deployment in one transaction: the run's id, or why not, for each.

    Relies on: the REST route `/deployments/{id}/create_flow_run/bulk`, which the client has no method for. It answers
    an idempotency key that it knows with the first run's id.
    """
    response = await client.request(
        "POST",
        "/deployments/{id}/create_flow_run/bulk",  # type: ignore[arg-type]  # not among the client's known routes
        path_params={"id": deployment_id},
        json=list(runs),
    )
    return [
        str(result["flow_run_id"]) if result.get("flow_run_id") else RuntimeError(result.get("error") or "not created")
        for result in response.json()["results"]
    ]


async def plan_runs(client: PrefectClient, deployment_id: UUID) -> None:
    """Has Prefect make the coming runs of a deployment's schedules now, not when its scheduler next looks.

    Relies on: the REST route `/deployments/{id}/schedule`, which the client has no method for. Every change of a
    deployment deletes its coming runs; one that is due before the scheduler's next look would never run.
    """
    await client.request(
        "POST",
        "/deployments/{id}/schedule",
        path_params={"id": deployment_id},
        json={},
    )


async def take_flow_run(client: PrefectClient, flow_run: FlowRun, *, owner: str | None = None) -> bool:
    """Proposes Pending for a scheduled run; True when Prefect lets it start now, within the deployment's limit.

    The state's message is the `owner`, the process that takes it: should it die before the run begins, that is known.

    Relies on: the limit being taken at Scheduled → Pending (`server/orchestration/core_policy.py`,
    SecureFlowConcurrencySlots), and on a Pending whose scheduled time is now being followed by Running without a wait.
    """
    pending: State[Any] = Pending(message=owner, state_details=StateDetails(scheduled_time=datetime.now(UTC)))
    state: State[Any] = await propose_state(client, pending, flow_run_id=flow_run.id)
    return state.is_pending()


async def was_scheduled_again(flow_run: FlowRun) -> bool:
    """Whether a run that had ended was scheduled anew since: somebody pressed "Retry" in Prefect's UI.

    Relies on: the states that a run had being kept. Prefect lets a run that has ended become Pending without being
    scheduled, too, as when a worker fetched it just before another one ended it; that is no wish to run it again.
    """
    async with get_client() as client:
        states = await client.read_flow_run_states(flow_run.id)
    ended = max((state.timestamp for state in states if state.is_final()), default=None)
    return ended is not None and any(state.is_scheduled() and state.timestamp > ended for state in states)


class WarmEngine:
    """What a process that runs many flow runs keeps for all of them: the slots' leases, and signs of life."""

    def __init__(self) -> None:
        self._leases: set[UUID] = set()

    @asynccontextmanager
    async def hold_lease(self, lease_id: UUID, *_: Any, **__: Any) -> AsyncIterator[None]:
        """Stands in for the engine's `amaintain_concurrency_lease`."""
        self._leases.add(lease_id)
        try:
            yield
        finally:
            self._leases.discard(lease_id)

    async def renew_leases(self, client: PrefectClient) -> None:
        """Keeps the concurrency slots of the runs in flight; to be called well within LEASE_SECONDS.

        A lease that Prefect does not know any more is let go: the run goes on, as its slot was given back already.
        """
        for lease_id in list(self._leases):
            try:
                await client.renew_concurrency_lease(lease_id, LEASE_SECONDS)
            except httpx.HTTPStatusError as error:
                if error.response.status_code not in (404, 410):
                    raise
                self._leases.discard(lease_id)


def _no_default_storage() -> None:
    """Stands in for the question to the server where results are kept."""


@asynccontextmanager
async def warm_engine() -> AsyncIterator[WarmEngine]:
    """What a process that runs many flow runs enters once.

    Relies on: one outer client context being shared by every run inside it; no heartbeat thread per run while the
    frequency is unset (an environment variable can't unset it); `flow_engine` looking up `amaintain_concurrency_lease`
    in its own module. Prefect's starts a thread for each run, and cancels the run when Prefect's server is away for a
    while; ours are renewed from one place, and outlive a restart of the server. And `results` looking up
    `_read_server_default_result_storage_block_id`, which opens a client and blocks the event loop in every run, to
    learn where results are kept that our flows don't keep. And `flow_engine` looking up `capture_sigterm`: a run in its
    hands raises at SIGTERM, which is right for a process of its own; here SIGTERM tells the worker to drain.
    """
    engine = WarmEngine()
    async with AsyncExitStack() as stack:
        stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
        stack.enter_context(mock.patch.object(flow_engine, "amaintain_concurrency_lease", engine.hold_lease))
        stack.enter_context(mock.patch.object(results, DEFAULT_STORAGE_LOOKUP, _no_default_storage))
        stack.enter_context(mock.patch.object(flow_engine, "capture_sigterm", nullcontext))
        await stack.enter_async_context(AsyncClientContext())
        yield engine


async def run_flow(flow: Flow[..., Any], flow_run: FlowRun) -> State[Any]:
    """Runs a pending flow run in this process and returns its final state.

    Relies on: `run_flow_async` being what `python -m prefect.engine` calls; it reads the run anew, so hiding the
    deployment from it only keeps it from starting a thread with a websocket of its own to watch for "Suspend".
    """
    hidden = flow_run.model_copy(update={"deployment_id": None})
    state = await flow_engine.run_flow_async(flow, flow_run=hidden, parameters=flow_run.parameters, return_type="state")
    assert isinstance(state, State)  # noqa: S101 - what `return_type` asks for
    return state


def current_flow_run() -> FlowRun | None:
    """The flow run this code runs in, with its idempotency key; None outside of Prefect.

    Relies on: `FlowRunContext.flow_run` being the whole run (`prefect.runtime` lacks the idempotency key).
    """
    context = FlowRunContext.get()
    return context.flow_run if context and isinstance(context.flow_run, FlowRun) else None


_leaves: ContextVar[bool] = ContextVar("_leaves", default=False)
"""Whether the flow run in this context ends here without having ended."""


def leave_state(reason: str) -> Abort:
    """What ends a flow run in this process, and leaves its state to somebody else: to be raised.

    Relies on: the engine saying "Finished in state …" in the context of the flow, to the logger `prefect.flow_runs`, at
    level error unless the run has completed. Of a run that has not ended that is not true, and is dropped.
    """
    _leaves.set(True)
    return Abort(reason)


def _is_true(record: logging.LogRecord) -> bool:
    return not (_leaves.get() and str(record.msg).startswith("Finished in state"))


logging.getLogger("prefect.flow_runs").addFilter(_is_true)


def use_immediate_transactions(connection_url: str) -> None:
    """Makes Prefect's server open every SQLite write transaction with BEGIN IMMEDIATE.

    Relies on: the injectable `MODELS_DEPENDENCIES["database_config"]`, and on `begin_transaction` choosing the mode.
    With Prefect's own BEGIN DEFERRED two writers at once end in "database is locked", answered 503, 2 s apart.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import MODELS_DEPENDENCIES

    class ImmediateSqliteConfiguration(AioSqliteConfiguration):
        def begin_transaction(self, session: Any, with_for_update: bool = False) -> Any:
            return super().begin_transaction(session, with_for_update=True)

    configuration: AioSqliteConfiguration = ImmediateSqliteConfiguration(connection_url=connection_url)
    MODELS_DEPENDENCIES["database_config"] = configuration


def write_events_once() -> None:
    """Makes Prefect's server write each event once, into SQLite too, however often clients sent it.

    Relies on: `event_persister` calling its module's name `write_events`, and on events being told apart by `id`.
    Clients send events again after a lost connection. Of those that are all written already Prefect makes an empty row,
    of one that came twice at once two: the database refuses either, five times over, and Prefect drops the batch.
    """
    from prefect.server.database import provide_database_interface
    from prefect.server.events.services import event_persister
    from sqlalchemy import select

    persister: Any = event_persister
    write_events = persister.write_events

    async def write_new_events(session: Any, events: list[Any]) -> None:
        id_column = provide_database_interface().Event.id
        new = {event.id: event for event in events}
        ids = list(new)
        for first in range(0, len(ids), EVENTS_LOOKED_UP):
            some = ids[first : first + EVENTS_LOOKED_UP]
            for written in await session.scalars(select(id_column).where(id_column.in_(some))):
                del new[written]
        await write_events(session=session, events=list(new.values()))

    persister.write_events = write_new_events
