"""Has the history admit what may start, and hands that to Prefect: the second half of the outbox the gateway writes.

Prefect gets what may run and no more, so that nothing waits there. Every gateway and every worker runs it. It is woken
by notices of what was accepted, and by its worker when an execution has ended: the history's transaction decides, so
they need not know of each other. What is handed over again after a crash is the same run, by its
idempotency key. A Prefect that is slow or away slows only this, never the gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled

from flows.history import Execution, HistoryStore, Mode
from flows.on_prefect.deployment import deploy_again, find_deployment
from flows.on_prefect.flow_runs import read_flow_runs
from flows.on_prefect.internals import BULK_LIMIT, create_flow_runs
from foundation.errors import IpaasError, StorageUnavailable
from ipaas.admission.looking import Looking, next_look
from ipaas.admission.shown import flow_run, hidden_event, shown_event

logger = logging.getLogger("ipaas.dispatcher")

CLAIM_SECONDS = 30.0
"""How long an admitted execution is this dispatcher's to hand over; after a crash another one takes it then."""
WAKE_TRIES = 10
"""How many ticks a run that is about to be put back is waited for; Prefect itself schedules it a little later."""


@dataclass
class _Asleep:
    """An admitted execution whose run Prefect made, and which is to start now."""

    execution: Execution
    tries: int = 0


class Dispatcher:
    """One per process.

    Args:
        on_dispatched: told which executions were handed over.
        modes: of workflows whose executions are handed over; None stands for those that do not say.
    """

    def __init__(
        self,
        store: HistoryStore,
        client: PrefectClient,
        on_dispatched: Callable[[Sequence[Execution]], None] = lambda executions: None,
        modes: Callable[[], Collection[Mode | None]] = lambda: (*Mode, None),
    ) -> None:
        self._store, self._client = store, client
        self._on_dispatched, self._modes = on_dispatched, modes
        self._looking = Looking(store, "hand executions to Prefect", logger)
        self._deployments: dict[str, str] = {}
        self._asleep: list[_Asleep] = []
        self._due: float | None = None
        """See `Admitted.due`: a debounce, a batch, a throttle."""

    def wake(self, execution: Execution) -> None:
        """It is admitted, and its run waits in Prefect for its turn."""
        self._asleep.append(_Asleep(execution))
        self.poke()

    def poke(self) -> None:
        """Something was accepted, or has ended."""
        self._looking.poke()

    async def run(self) -> None:
        """Dispatches until cancelled."""
        await self._looking.run(self._look)

    async def _look(self) -> float:
        return 0.0 if await self.dispatch_once() else next_look(self._due)

    async def dispatch_once(self) -> int:
        """Admits and hands over one batch; how many there were.

        What fails of one workflow alone stays claimed for a while, so that it does not hold up the others'.

        Raises:
            httpx.HTTPError, StorageUnavailable: Prefect or the history does not answer; the claims are released.
        """
        admitted = await self._store.admit(limit=BULK_LIMIT, claim=CLAIM_SECONDS, modes=self._modes())
        self._due = admitted.due
        self._asleep += [_Asleep(execution) for execution in admitted if execution.flow_run_id]
        await self._hand_over([execution for execution in admitted if not execution.flow_run_id])
        await self._wake()
        return len(admitted)

    async def _hand_over(self, executions: Sequence[Execution]) -> None:
        by_workflow: dict[str, list[Execution]] = defaultdict(list)
        for execution in executions:
            by_workflow[execution.workflow].append(execution)
        left = {execution.id for execution in executions}
        try:
            for workflow, its in by_workflow.items():
                try:
                    await self._dispatch(workflow, its)
                except Exception as error:
                    if _is_away(error):
                        raise
                    again = f"trying again in {CLAIM_SECONDS:g} s"
                    logger.exception("workflow %s: could not hand its executions to Prefect, %s", workflow, again)
                left -= {execution.id for execution in its}
        finally:
            if left:
                await self._store.release(sorted(left))

    # Runs that are made

    async def _dispatch(self, workflow: str, executions: Sequence[Execution]) -> None:
        deployment_id = await self._deployment(workflow)
        try:
            created = await self._create(deployment_id, executions)
        except httpx.HTTPStatusError as error:
            if not _is_gone(error):
                raise
            logger.warning("workflow %s: its Prefect deployment is gone, it is deployed again", workflow)
            created = await self._create(await self._deploy(workflow), executions)
        taken = {e.id: run for e, run in zip(executions, created, strict=True) if isinstance(run, str)}
        await self._store.dispatched(taken)
        self._on_dispatched([execution for execution in executions if execution.id in taken])
        refused = [run for run in created if not isinstance(run, str)]
        if refused:
            raise IpaasError(f"Prefect refused {len(refused)} runs of workflow {workflow}: {refused[0]}")

    async def _create(self, deployment_id: str, executions: Sequence[Execution]) -> Sequence[str | Exception]:
        """Creates their runs; what Prefect does not take with their events is tried without showing them."""
        # In a thread: to look through many events takes a while, and the caller's loop answers senders.
        runs = await asyncio.to_thread(lambda: [flow_run(deployment_id, one, shown_event(one)) for one in executions])
        try:
            created = await create_flow_runs(self._client, UUID(deployment_id), runs)
            refused = next((run for run in created if not isinstance(run, str)), None)
        except Exception as error:
            if _is_away(error) or _is_gone(error):
                raise
            refused = error
        if refused is None:
            return created
        logger.warning("Prefect did not take runs as they were, trying without their events: %s", refused)
        runs = [
            flow_run(deployment_id, one, hidden_event(one.accepted_at, "Prefect did not take it")) for one in executions
        ]
        return await create_flow_runs(self._client, UUID(deployment_id), runs)

    async def _deployment(self, workflow: str) -> str:
        if workflow not in self._deployments:
            known = await self._store.workflow(workflow)
            found = (known and known.deployment_id) or await find_deployment(self._client, workflow)
            self._deployments[workflow] = found or await self._deploy(workflow)
        return self._deployments[workflow]

    async def _deploy(self, workflow: str) -> str:
        """Makes the deployment of a published workflow that Prefect does not know (its database is new)."""
        known = await self._store.workflow(workflow)
        if known is None:
            raise IpaasError(f"workflow {workflow} is not in the history")
        self._deployments[workflow] = await deploy_again(self._client, self._store, known)
        return self._deployments[workflow]

    # Runs that Prefect made, or whose execution has waited for something outside

    async def _wake(self) -> None:
        """Starts the runs that waited in Prefect for their turn. One that is gone is made anew, as any other."""
        if not self._asleep:
            return
        runs = await read_flow_runs(self._client, [str(one.execution.flow_run_id) for one in self._asleep])
        for one in list(self._asleep):
            run = runs.get(str(one.execution.flow_run_id))
            one.tries += 1
            if isinstance(run, FlowRun) and _is_about_to_wait(run) and one.tries < WAKE_TRIES:
                continue
            try:
                await self._start(one.execution, run)
            except Exception as error:
                if _is_away(error):
                    raise
                logger.warning("execution %s: its flow run could not be started: %s", one.execution.id, error)
            self._asleep.remove(one)

    async def _start(self, execution: Execution, run: FlowRun | Exception | None) -> None:
        if isinstance(run, FlowRun) and run.state_type not in (StateType.SCHEDULED, StateType.PAUSED):
            return  # it runs, or has ended: that is the workers' to settle
        if run is not None:
            try:
                await self._client.set_flow_run_state(UUID(execution.flow_run_id), Scheduled(message="Its turn."))
            except ObjectNotFound:
                run = None
        if run is None:
            logger.info("execution %s: its flow run is gone, it gets a new one", execution.id)
            await self._store.undispatch(execution.id)
            self.poke()


def _is_about_to_wait(run: FlowRun) -> bool:
    """A worker has just found the limit reached, and has not put it back yet."""
    return run.state_type in (StateType.PENDING, StateType.RUNNING)


def _is_gone(error: Exception) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 404


def _is_away(error: Exception) -> bool:
    """Prefect or the history does not answer: no other workflow would fare better."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (429, 502, 503, 504)
    return isinstance(error, (httpx.HTTPError, StorageUnavailable, OSError))
