"""`Running` in memory. It admits, too, what begins without having been admitted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from flows.history.documents import from_document, limited_document
from flows.history.failed import FAILURES
from flows.history.memory.admission import MemoryAdmission
from flows.history.memory.failures import MemoryFailures
from flows.history.memory.state import Kept, kept_step, stored
from flows.history.records import Admitted, Execution, Hold, Json, Mode, NewWait, Refusal, Status, StepExecution
from flows.history.rows import require_end, written


class MemoryRunning(MemoryAdmission, MemoryFailures):
    async def begin(
        self, execution_id: str, *, flow_run_id: str | None, owner: str, lease: float
    ) -> Execution | Refusal:
        kept, now = self._executions.get(execution_id), self._clock.now()
        if kept is None:
            return Refusal.UNKNOWN
        if kept.status.is_final:
            return Refusal.ENDED
        if kept.status is Status.WAITING:
            return Refusal.WAITING
        lease_until = kept.execution.lease_until
        if kept.status is Status.RUNNING and kept.execution.owner != owner and lease_until and lease_until > now:
            return Refusal.HELD
        kept.change(flow_run_id=flow_run_id or kept.execution.flow_run_id)
        if kept.is_waiting and (refusal := self._enter(kept, now)):
            return refusal
        self._admit(kept, now)
        return self._run(kept, Mode.STANDARD, now, owner, lease)

    async def admit_and_begin(
        self, *, limit: int, owner: str, lease: float, modes: Collection[Mode | None] = (Mode.EXPRESS,)
    ) -> Admitted:
        admitted, now = await self.admit(limit=limit, claim=0, modes=modes), self._clock.now()
        executions = [
            one if one.flow_run_id else self._run(self._executions[one.id], Mode.EXPRESS, now, owner, lease)
            for one in admitted
        ]
        return Admitted(executions, admitted.due)

    def _run(self, kept: Kept, mode: Mode, now: datetime, owner: str, lease: float) -> Execution:
        kept.change(
            status=Status.RUNNING,
            mode=mode,
            runs=kept.execution.runs + 1,
            started_at=kept.execution.started_at or now,
            spent=kept.spent(),
            begun_at=now,
            owner=owner,
            lease_until=now + timedelta(seconds=lease),
        )
        kept.seen_at, kept.claimed_until = now, None
        return kept.whole()

    def written(self, step: StepExecution) -> StepExecution:
        return written(step, self._limits)

    async def save_steps(self, hold: Hold, steps: Sequence[StepExecution]) -> bool:
        rows, kept = self._rows(steps), self._executions.get(hold.execution_id)
        if kept is None or kept.status is not Status.RUNNING or not kept.is_held(hold):
            return False
        kept.steps |= rows
        return True

    def _rows(self, steps: Sequence[StepExecution]) -> dict[str, StepExecution]:
        return {step.path: kept_step(step, self._limits) for step in steps}

    async def finish(
        self,
        hold: Hold,
        status: Status,
        *,
        steps: Sequence[StepExecution] = (),
        output: Json = None,
        error: Json = None,
        answer: Json = None,
    ) -> bool:
        require_end(status)
        rows = self._rows(steps)
        output = from_document(limited_document(output, self._limits))
        answer = from_document(limited_document(answer, self._limits, "answer"))
        kept, error = self._executions.get(hold.execution_id), stored(error)
        if kept is None or not kept.is_held(hold):
            return False
        kept.steps |= rows
        self._end_execution(kept, status, output=output, error=error, answer=answer)
        if status in FAILURES:
            self._start_after(kept, self._clock.now())
        return True

    async def park(self, hold: Hold, waits: Sequence[NewWait], *, steps: Sequence[StepExecution] = ()) -> bool:
        rows, kept = self._rows(steps), self._executions.get(hold.execution_id)
        if kept is None or kept.status is not Status.RUNNING or not kept.is_held(hold):
            return False
        kept.steps |= rows
        kept.seen_at = self._clock.now()
        goes_on = self._begin_waits(kept, waits) or kept.execution.cancel_requested is not None
        kept.change(
            status=Status.ACCEPTED if goes_on else Status.WAITING,
            parked_at=None if goes_on else self._clock.now(),
            parked_runs=kept.execution.runs,
            admitted_at=None,
            owner=None,
            lease_until=None,
            spent=kept.spent(),
            begun_at=None,
        )
        kept.dispatched_at = kept.seen_at = None
        return True

    async def renew(self, holds: Sequence[Hold], *, lease: float) -> Mapping[str, Json]:
        known = {hold: self._executions.get(hold.execution_id) for hold in holds}
        held = [kept for hold, kept in known.items() if kept and kept.is_held(hold) and kept.status is Status.RUNNING]
        for kept in held:
            kept.seen_at = self._clock.now()
            kept.change(lease_until=kept.seen_at + timedelta(seconds=lease))
        return {kept.id: kept.ended().cancel_requested for kept in held}

    async def requeue(self, hold: Hold) -> bool:
        kept = self._executions.get(hold.execution_id)
        if kept is None or kept.status is not Status.RUNNING or not kept.is_held(hold):
            return False
        kept.change(status=Status.ACCEPTED, owner=None, lease_until=None, spent=kept.spent(), begun_at=None)
        kept.dispatched_at, kept.seen_at = self._clock.now(), None
        return True
