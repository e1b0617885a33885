"""The reconciler's table, row by row, on a real Prefect server: what becomes of a flow run and its execution."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from on_prefect import Deployed, deployed
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running, Scheduled
from store_builders import accepted

from connectors.kit.testing import acting
from flows.engine.runtime import RunningExecution, Runtime
from flows.history import Execution, MemoryStore, Status
from flows.on_prefect.internals import take_flow_run
from flows.on_prefect.run import EXECUTION_LABEL
from foundation.clock import ManualClock
from foundation.errors import NotFound
from foundation.owner import process, this_process
from ipaas.worker.reconcile import SETTLED_SECONDS, Reconciler
from ipaas.worker.verdict import MOST_RUNS, STALE_SECONDS

DEAD = "some-other-host/1"
STATES: dict[str, Any] = {
    "scheduled": Scheduled,
    "pending": Pending,
    "running": Running,
    "crashed": Crashed,
    "cancelling": Cancelling,
    "cancelled": Cancelled,
    "failed": Failed,
    "timed out": lambda: Failed(name="TimedOut", message="too long"),
    "completed": Completed,
    "retry": lambda: Scheduled(name="AwaitingRetry"),
}


pytestmark = pytest.mark.usefixtures("prefect_settings")


class WellRuntime(Runtime):
    """Of a process that has had its history at hand for long enough to take others for dead."""

    healthy_seconds = 3600.0  # type: ignore[assignment]  # a property


@dataclass
class Case:
    runtime: Runtime
    one: Deployed
    reconciler: Reconciler
    clock: ManualClock

    async def run_in(self, state: str, **values: Any) -> FlowRun:
        """A flow run that Prefect has in this state."""
        run = await self.one.create(**values)
        if state == "cancelling":  # what does not run yet would be cancelled at once
            await self.one.client.set_flow_run_state(run.id, Running(), force=True)
        if state != "scheduled":
            await self.one.client.set_flow_run_state(run.id, STATES[state](), force=True)
        return await self.one.now(run)

    async def execution_of(self, run: FlowRun, status: str) -> str:
        """Its execution: `lost` is running in a process that gives no sign of life, `running` in one that does."""
        store = self.runtime.store
        execution_id = await accepted(store, flow_run_id=str(run.id))
        if status == "accepted":
            return execution_id
        lease = 0 if status == "lost" else 3600
        execution = await store.begin(execution_id, flow_run_id=str(run.id), owner=DEAD, lease=lease)
        assert isinstance(execution, Execution)
        if status not in ("lost", "running"):
            await store.finish(execution.hold, Status(status), error={"code": "x", "message": "as recorded"})
        return execution_id

    async def settled(self, run: FlowRun) -> tuple[StateType | None, Execution | None]:
        await self.reconciler.settle(str(run.id))
        return await self.one.state(run), await self.runtime.store.execution_of_flow_run(str(run.id))

    def later(self) -> None:
        """So much later that a state of now is no news any more."""
        self.clock.move(seconds=STALE_SECONDS + 60)


@pytest.fixture
async def case(client: PrefectClient) -> AsyncIterator[Case]:
    clock = ManualClock(datetime.now(UTC))
    store = MemoryStore(clock)
    one = await deployed(client, store=store)
    async with acting() as stage:
        runtime = WellRuntime(store=store, services=stage.services, clock=clock)
        yield Case(runtime, one, Reconciler(client, runtime), clock)


@pytest.mark.parametrize(
    ("run", "execution", "run_then", "execution_then"),
    [
        # What has ended in the history ends in Prefect.
        ("running", "succeeded", StateType.COMPLETED, Status.SUCCEEDED),
        ("running", "failed", StateType.FAILED, Status.FAILED),
        ("running", "timed_out", StateType.FAILED, Status.TIMED_OUT),
        ("running", "cancelled", StateType.CANCELLED, Status.CANCELLED),
        ("scheduled", "succeeded", StateType.COMPLETED, Status.SUCCEEDED),
        ("scheduled", "cancelled", StateType.CANCELLED, Status.CANCELLED),
        ("completed", "failed", StateType.COMPLETED, Status.FAILED),
        # "Retry" in Prefect's UI: it waits for its turn.
        ("retry", "failed", StateType.SCHEDULED, Status.FAILED),
        ("retry", "timed_out", StateType.SCHEDULED, Status.TIMED_OUT),
        # What a living process runs is its own.
        ("running", "running", StateType.RUNNING, Status.RUNNING),
        ("cancelling", "running", StateType.CANCELLING, Status.RUNNING),
        ("crashed", "running", StateType.CRASHED, Status.RUNNING),
        # What was cancelled in Prefect.
        ("cancelling", "accepted", StateType.CANCELLED, Status.CANCELLED),
        ("cancelling", "lost", StateType.CANCELLED, Status.CANCELLED),
        ("cancelled", "accepted", StateType.CANCELLED, Status.CANCELLED),
        ("cancelled", "lost", StateType.CANCELLED, Status.CANCELLED),
        ("cancelling", None, StateType.CANCELLED, None),
        # What ended in Prefect alone.
        ("failed", "lost", StateType.FAILED, Status.FAILED),
        ("failed", "accepted", StateType.FAILED, Status.FAILED),
        ("timed out", "lost", StateType.FAILED, Status.TIMED_OUT),
        ("completed", "lost", StateType.COMPLETED, Status.SUCCEEDED),
        ("completed", None, StateType.COMPLETED, None),
        ("failed", None, StateType.FAILED, None),
        # What lost its process runs again.
        ("running", "lost", StateType.SCHEDULED, Status.ACCEPTED),
        ("crashed", "lost", StateType.SCHEDULED, Status.ACCEPTED),
        ("crashed", "accepted", StateType.SCHEDULED, Status.ACCEPTED),
        ("crashed", None, StateType.SCHEDULED, None),
        ("scheduled", "lost", StateType.SCHEDULED, Status.ACCEPTED),
        # What a process may be beginning just now is left to it.
        ("pending", "accepted", StateType.PENDING, Status.ACCEPTED),
        ("pending", None, StateType.PENDING, None),
        ("pending", "lost", StateType.PENDING, Status.RUNNING),
        ("running", "accepted", StateType.RUNNING, Status.ACCEPTED),
        ("running", None, StateType.RUNNING, None),
        ("scheduled", "accepted", StateType.SCHEDULED, Status.ACCEPTED),
        ("scheduled", None, StateType.SCHEDULED, None),
    ],
)
async def test_the_table(
    case: Case, run: str, execution: str | None, run_then: StateType, execution_then: Status | None
) -> None:
    flow_run = await case.run_in(run)
    if execution:
        await case.execution_of(flow_run, execution)

    state, then = await case.settled(flow_run)

    assert (state, then and then.status) == (run_then, execution_then)


@pytest.mark.parametrize("run", ["pending", "running"])
@pytest.mark.parametrize("execution", ["accepted", None])
async def test_what_nobody_went_on_with_for_long_runs_again(case: Case, run: str, execution: str | None) -> None:
    flow_run = await case.run_in(run)
    if execution:
        await case.execution_of(flow_run, execution)
    case.later()

    state, then = await case.settled(flow_run)

    assert state is StateType.SCHEDULED
    assert then is None or then.status is Status.ACCEPTED


async def test_what_ends_as_the_history_says_has_its_message(case: Case) -> None:
    flow_run = await case.run_in("running")
    await case.execution_of(flow_run, "timed_out")

    await case.settled(flow_run)

    state = (await case.one.now(flow_run)).state
    assert state is not None
    assert (state.name, state.message) == ("TimedOut", "as recorded")


async def test_what_prefect_cancelled_says_why(case: Case) -> None:
    flow_run = await case.one.create()
    await case.one.client.set_flow_run_state(flow_run.id, Cancelled(message="Limit reached."), force=True)
    await case.execution_of(flow_run, "accepted")

    _, execution = await case.settled(flow_run)

    assert execution is not None
    assert execution.error == {"code": "cancelled", "message": "cancelled through Prefect: Limit reached."}


async def test_what_runs_in_this_process_is_not_touched(case: Case) -> None:
    flow_run = await case.run_in("running")
    execution_id = await case.execution_of(flow_run, "lost")
    lost = await case.runtime.store.execution(execution_id)
    assert lost is not None
    case.runtime.running[execution_id] = RunningExecution(lost.hold, str(flow_run.id))

    state, execution = await case.settled(flow_run)

    assert execution is not None
    assert (state, execution.status) == (StateType.RUNNING, Status.RUNNING)


async def test_an_execution_is_known_by_the_runs_label_before_it_has_begun(case: Case) -> None:
    execution_id = await accepted(case.runtime.store)
    flow_run = await case.run_in("cancelling", labels={EXECUTION_LABEL: execution_id})

    await case.settled(flow_run)

    execution = await case.runtime.store.execution(execution_id)
    assert execution is not None
    assert execution.status is Status.CANCELLED


async def test_one_round_finds_what_lost_its_process(case: Case) -> None:
    lost, alive = await case.run_in("running"), await case.run_in("running")
    await case.execution_of(lost, "lost")
    await case.execution_of(alive, "running")

    await case.reconciler.run_once()

    assert await case.one.state(lost) is StateType.SCHEDULED
    assert await case.one.state(alive) is StateType.RUNNING


@pytest.mark.parametrize(("taker", "then"), [("dead", StateType.SCHEDULED), ("alive", StateType.PENDING)])
async def test_one_round_finds_what_a_process_of_this_machine_took_and_did_not_begin(
    case: Case, taker: str, then: StateType
) -> None:
    owner = this_process() if taker == "alive" else dead_process()
    flow_run = await case.one.create()
    assert await take_flow_run(case.one.client, flow_run, owner=owner)

    await case.reconciler.run_once()

    assert await case.one.state(flow_run) is then


async def test_one_round_tells_prefect_what_ended_while_it_could_not_be_told(case: Case) -> None:
    flow_run = await case.run_in("running")
    await case.execution_of(flow_run, "succeeded")
    case.clock.move(seconds=SETTLED_SECONDS + 5)

    await case.reconciler.run_once()

    assert await case.one.state(flow_run) is StateType.COMPLETED


async def test_one_round_leaves_alone_what_began_while_it_looked(case: Case) -> None:
    """The list of what was handed over long ago is old by the time its last one is looked at."""
    flow_run = await case.run_in("running")
    execution_id = await accepted(case.runtime.store)
    await case.runtime.store.admit(limit=1, claim=60)
    await case.runtime.store.dispatched({execution_id: str(flow_run.id)})
    case.clock.move(seconds=STALE_SECONDS + 60)

    looked: list[list[Any]] = []

    class Begins(Reconciler):
        async def _look_around(self, runs: Any) -> Any:
            looked.append([run.id for run in runs])
            await case.runtime.store.begin(execution_id, flow_run_id=None, owner=DEAD, lease=3600)
            return await super()._look_around(runs)

    await Begins(case.one.client, case.runtime).run_once()

    assert looked[0] == [flow_run.id]
    assert await case.one.state(flow_run) is StateType.RUNNING


async def test_a_run_that_can_not_be_run_is_failed_with_its_execution(case: Case) -> None:
    case.runtime.services.masker.add("s3cret-token")
    execution_id = await accepted(case.runtime.store)
    flow_run = await case.run_in("scheduled", labels={EXECUTION_LABEL: execution_id})

    await case.reconciler.fail(flow_run, NotFound("there is no workflow s3cret-token"))

    execution = await case.runtime.store.execution(execution_id)
    assert execution is not None
    assert (execution.status, execution.error["code"]) == (Status.FAILED, "not_found")
    state = (await case.one.now(flow_run)).state
    assert state is not None
    assert (state.type, state.message) == (StateType.FAILED, "there is no workflow ********")
    assert execution.error["message"] == state.message


async def test_what_takes_its_worker_down_each_time_is_given_up(case: Case) -> None:
    run = await case.run_in("running")
    execution_id = await case.execution_of(run, "lost")
    for _ in range(MOST_RUNS - 1):
        await case.runtime.store.begin(execution_id, flow_run_id=str(run.id), owner=DEAD, lease=0)

    state, execution = await case.settled(run)

    assert state is StateType.FAILED
    assert execution is not None
    assert (execution.status, execution.error["code"]) == (Status.FAILED, "crashed")


def dead_process() -> str | None:
    """The owner that a process of this host was."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = process(child.pid)
    child.communicate(b"\n")
    return owner
