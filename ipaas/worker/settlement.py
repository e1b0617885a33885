"""Doing what a verdict says: to the execution in the history, to its flow run in Prefect.

The history is written first, by the execution's hold: where somebody else was faster, Prefect is left to him.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httpx
from prefect import State
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Failed, Scheduled

from flows.engine.failures import cancellation
from flows.engine.runtime import Runtime
from flows.engine.waiting_for import open_waits
from flows.history import Execution, Status
from flows.on_prefect.pausing import show_waiting
from flows.on_prefect.run import CANCELLED_IN_PREFECT, state_of
from ipaas.worker.verdict import REPLACED, Verdict

logger = logging.getLogger("ipaas.reconcile")


class Settlement:
    """Carries verdicts out.

    Args:
        fetch: given a scheduled run that lies in no queue, so that no worker is given it by Prefect.
        on_changed: called when executions can be dispatched that could not be before.
    """

    def __init__(
        self,
        client: PrefectClient,
        runtime: Runtime,
        fetch: Callable[[FlowRun], None] = lambda run: None,
        on_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._runtime, self._store = client, runtime, runtime.store
        self._fetch, self._on_changed = fetch, on_changed

    async def carry_out(self, verdict: Verdict, run: FlowRun | None, execution: Execution | None) -> None:
        """Raises what Prefect and the history raise; what was done then is done, and the rest is found again."""
        logger.info("%s: %s", _named(run, execution), verdict)
        if run:
            await self._with_run(verdict, run, execution)
        elif execution:
            await self._without_run(verdict, execution)

    async def _with_run(self, verdict: Verdict, run: FlowRun, execution: Execution | None) -> None:
        match verdict, execution:
            case Verdict.FETCH, _:
                self._fetch(run)
            case Verdict.REPLACE, _:
                await self._replace(run)
            case Verdict.SHOW_WAITING, Execution():
                await show_waiting(run, open_waits(execution.waits), force=True)
            case Verdict.WAKE, _:
                await self._set_state(run, Scheduled(message="What it waited for has come."))
            case Verdict.CANCEL, _:
                await self._cancel(run, execution)
            case Verdict.RUN_AGAIN, _:
                await self._run_again(run, execution)
            case Verdict.TELL_PREFECT, Execution():
                await self._set_state(run, state_of(execution.status, (execution.error or {}).get("message")))
            case Verdict.END_AS_PREFECT_SAYS, Execution():
                await self._end_as(run, execution)
            case Verdict.ASK_TO_CANCEL, Execution():
                await self._ask_to_cancel(run, execution)
            case Verdict.GIVE_UP, Execution():
                if message := await self._give_up(execution):
                    await self._set_state(run, Failed(message=message))
            case _, Execution():
                await self._without_run(verdict, execution)
                if verdict is Verdict.DISPATCH_AGAIN:
                    await self._replace(run)

    async def _without_run(self, verdict: Verdict, execution: Execution) -> None:
        if verdict is Verdict.GIVE_UP:
            await self._give_up(execution)
        elif verdict is Verdict.HAND_BACK:
            await self._hand_back(execution)
            self._on_changed()
        elif verdict is Verdict.DISPATCH_AGAIN:
            await self._hand_back(execution)
            await self._store.undispatch(execution.id)
            self._on_changed()

    async def _hand_back(self, execution: Execution) -> bool:
        """True when nobody runs it (any more): it is accepted."""
        return execution.status is Status.ACCEPTED or await self._store.requeue(execution.hold)

    async def _cancel(self, run: FlowRun, execution: Execution | None) -> None:
        if execution:
            said = run.state and run.state.message
            in_prefect = CANCELLED_IN_PREFECT | ({"reason": said} if said else {})
            request = execution.cancel_requested or in_prefect
            await self._finish(execution, Status.CANCELLED, cancellation(request["by"], request["reason"]))
        if run.state and run.state.type is StateType.CANCELLING:
            await self._set_state(run, Cancelled(message="Cancelled before it ran."))

    async def _ask_to_cancel(self, run: FlowRun, execution: Execution) -> None:
        """Its process learns of it with the next renewal of its lease."""
        if execution.cancel_requested is None:
            await self._store.request_cancel(execution.id, **CANCELLED_IN_PREFECT)

    async def _end_as(self, run: FlowRun, execution: Execution) -> None:
        if run.state is None or run.state.is_completed():
            await self._finish(execution, Status.SUCCEEDED, None)
            return
        status = Status.TIMED_OUT if run.state.name == "TimedOut" else Status.FAILED
        error = {"code": "prefect", "message": run.state.message or "failed in Prefect", "step": None}
        await self._finish(execution, status, error)

    async def _give_up(self, execution: Execution) -> str | None:
        """An execution that takes its worker down each time must not do so for ever: it fails, and can be replayed."""
        times = execution.runs - execution.parked_runs
        message = f"the process that ran it died {times} times; it is not run again by itself"
        error = {"code": "crashed", "message": message, "step": None}
        return message if await self._finish(execution, Status.FAILED, error) else None

    async def _finish(self, execution: Execution, status: Status, error: dict[str, Any] | None) -> bool:
        ended = await self._store.finish(execution.hold, status, error=error)
        if ended:
            self._on_changed()
        return ended

    async def _run_again(self, run: FlowRun, execution: Execution | None) -> None:
        """Its process is gone: the same flow run is scheduled anew, and goes on after its last finished step."""
        if execution and not await self._hand_back(execution):
            return  # somebody else was faster
        if run.state and run.state.type is not StateType.CRASHED:
            # Orchestrated if possible: that gives the run's concurrency slot back.
            why = "The process that ran it is gone; it is run again after its last finished step."
            await self._set_state(run, Crashed(message=why))
        if not await self._set_state(run, Scheduled(message="Run again after a crash.")) and execution:
            await self._without_run(Verdict.DISPATCH_AGAIN, execution)

    async def _replace(self, run: FlowRun) -> None:
        why = "It can't be run any more; its execution, if any, has another run."
        await self._set_state(run, Cancelled(name=REPLACED, message=why))

    async def _set_state(self, run: FlowRun, state: State[Any]) -> bool:
        """By Prefect's rules if they let it, else by force; False when Prefect does not have the run any more."""
        try:
            done = await self._client.set_flow_run_state(run.id, state)
            if done.status is SetStateStatus.ACCEPT:
                return True
        except ObjectNotFound:
            return False
        except httpx.HTTPStatusError as error:
            if error.response.status_code in (502, 503, 504):
                raise
        try:
            await self._client.set_flow_run_state(run.id, state, force=True)
        except ObjectNotFound:
            return False
        return True


def _named(run: FlowRun | None, execution: Execution | None) -> str:
    of_run = f"flow run {run.id} ({run.state_name})" if run else "no flow run"
    return f"execution {execution.id} ({execution.status}), {of_run}" if execution else of_run
