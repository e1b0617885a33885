"""The history in memory: `SqlStore`'s twin for tests. What it keeps is gone with the process."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from flows.history.models import from_document, to_document
from flows.history.records import (
    Accepted,
    Execution,
    Json,
    Limits,
    NewExecution,
    Page,
    Status,
    StepExecution,
    Workflow,
    WorkflowVersion,
)
from flows.history.rows import end_of_open_steps, in_order_of_start, output_document
from foundation.clock import Clock, SystemClock
from foundation.errors import NotFound


@dataclass
class _Kept:
    execution: Execution
    """Without event and steps."""
    event: str
    steps: dict[str, StepExecution] = field(default_factory=dict)
    claimed_until: datetime | None = None
    dispatched_at: datetime | None = None

    @property
    def status(self) -> Status:
        return self.execution.status

    def change(self, **values: Any) -> None:
        self.execution = replace(self.execution, **values)

    def light(self) -> Execution:
        return copy.deepcopy(self.execution)

    def whole(self) -> Execution:
        steps = in_order_of_start(copy.deepcopy(list(self.steps.values())))
        return replace(self.light(), event=from_document(self.event), steps=steps)


@dataclass
class _Workflow:
    active: bool
    current: str
    updated_at: datetime
    deployment_id: str | None = None


class MemoryStore:
    """`HistoryStore` in dicts. Methods await nothing, so each is atomic within its event loop."""

    def __init__(self, clock: Clock | None = None, limits: Limits | None = None) -> None:
        self._clock, self._limits = clock or SystemClock(), limits or Limits()
        self._workflows: dict[str, _Workflow] = {}
        self._versions: dict[tuple[str, str], WorkflowVersion] = {}
        self._executions: dict[str, _Kept] = {}
        self._deliveries: dict[str, tuple[str, datetime | None]] = {}

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Keeps what it has: a test may look at it afterwards."""

    async def ping(self) -> None:
        """Always there."""

    # Workflows

    async def publish(self, version: WorkflowVersion) -> bool:
        now, key = self._clock.now(), (version.workflow, version.version)
        if key not in self._versions:
            self._versions[key] = replace(
                version,
                tags=tuple(version.tags),
                declaration=_stored(version.declaration),
                created_at=version.created_at or now,
            )
        known = self._workflows.get(version.workflow)
        if known is None:
            self._workflows[version.workflow] = _Workflow(True, version.version, now)
        elif known.current == version.version:
            return False
        else:
            known.current, known.updated_at = version.version, now
        return True

    async def workflows(self) -> Sequence[Workflow]:
        return [self._record(name) for name in sorted(self._workflows)]

    async def workflow(self, name: str) -> Workflow | None:
        return self._record(name) if name in self._workflows else None

    async def version(self, workflow: str, version: str) -> WorkflowVersion | None:
        return copy.deepcopy(self._versions.get((workflow, version)))

    async def set_active(self, workflow: str, active: bool) -> bool:
        if (known := self._workflows.get(workflow)) is None:
            return False
        known.active, known.updated_at = active, self._clock.now()
        return True

    async def set_deployment(self, workflow: str, deployment_id: str) -> None:
        if known := self._workflows.get(workflow):
            known.deployment_id, known.updated_at = deployment_id, self._clock.now()

    def _record(self, name: str) -> Workflow:
        known = self._workflows[name]
        version = copy.deepcopy(self._versions[name, known.current])
        return Workflow(name, known.active, version, known.deployment_id, known.updated_at)

    # The way in

    async def accept(self, new: Sequence[NewExecution]) -> Sequence[Accepted]:
        kept = [_keep(one, self._limits) for one in new]  # first: what can't be stored must not store its neighbours
        return [self._accept(one, row) for one, row in zip(new, kept, strict=True)]

    def _accept(self, new: NewExecution, kept: _Kept) -> Accepted:
        if new.dedupe_key is not None:
            holder, until = self._deliveries.get(new.dedupe_key, (None, None))
            if holder is not None and (until is None or until > self._clock.now()):
                return Accepted(holder, duplicate=True)
            self._deliveries[new.dedupe_key] = (new.id, new.dedupe_until)
        if new.id in self._executions:
            return Accepted(new.id, duplicate=True)
        self._executions[new.id] = kept
        return Accepted(new.id, duplicate=False)

    async def backlog(self) -> Mapping[str, int]:
        return Counter(kept.execution.workflow for kept in self._in(Status.ACCEPTED))

    async def oldest_accepted(self) -> datetime | None:
        return min((kept.execution.accepted_at for kept in self._in(Status.ACCEPTED)), default=None)

    async def claim(self, *, limit: int, now: datetime, until: datetime) -> Sequence[Execution]:
        free = [
            kept
            for kept in self._in(Status.ACCEPTED)
            if kept.execution.flow_run_id is None and (kept.claimed_until is None or kept.claimed_until <= now)
        ]
        free.sort(key=lambda kept: (kept.execution.accepted_at, kept.execution.id))
        for kept in free[:limit]:
            kept.claimed_until = until
        return [replace(kept.light(), event=from_document(kept.event)) for kept in free[:limit]]

    async def dispatched(self, flow_runs: Mapping[str, str]) -> None:
        for execution_id, flow_run_id in flow_runs.items():
            if kept := self._executions.get(execution_id):
                kept.change(flow_run_id=kept.execution.flow_run_id or flow_run_id)
                kept.dispatched_at, kept.claimed_until = self._clock.now(), None

    async def release(self, execution_ids: Sequence[str]) -> None:
        for kept in self._in(Status.ACCEPTED):
            if kept.execution.id in execution_ids:
                kept.claimed_until = None

    # Running

    async def begin(
        self, execution_id: str, *, flow_run_id: str | None, owner: str, now: datetime, lease_until: datetime
    ) -> Execution | None:
        kept = self._executions.get(execution_id)
        if kept is None or kept.status.is_final:
            return None
        kept.change(
            status=Status.RUNNING,
            runs=kept.execution.runs + 1,
            started_at=kept.execution.started_at or now,
            owner=owner,
            lease_until=lease_until,
            flow_run_id=flow_run_id or kept.execution.flow_run_id,
        )
        kept.claimed_until = None
        return kept.whole()

    async def save_step(self, execution_id: str, step: StepExecution) -> None:
        row = _step(step, self._limits)
        if execution_id not in self._executions:
            raise NotFound(f"there is no execution {execution_id}")
        self._executions[execution_id].steps[step.step_id] = row

    async def finish(
        self, execution_id: str, status: Status, *, now: datetime, output: Json = None, error: Json = None
    ) -> bool:
        if not status.is_final:
            raise ValueError(f"{status} is no end")
        output, error = from_document(output_document(output, self._limits)), _stored(error)
        kept = self._executions.get(execution_id)
        if kept is None or kept.status.is_final:
            return False
        kept.change(status=status, finished_at=now, output=output, error=error, owner=None, lease_until=None)
        for step in kept.steps.values():
            if step.status is Status.RUNNING:
                kept.steps[step.step_id] = replace(step, status=end_of_open_steps(status), finished_at=now)
        return True

    async def renew(self, execution_ids: Sequence[str], *, owner: str, until: datetime) -> Sequence[str]:
        owned = [kept for kept in self._in(Status.RUNNING) if kept.execution.owner == owner]
        renewed = [kept for kept in owned if kept.execution.id in execution_ids]
        for kept in renewed:
            kept.change(lease_until=until)
        return [kept.execution.id for kept in renewed]

    async def requeue(self, execution_id: str, *, owner: str | None) -> bool:
        kept = self._executions.get(execution_id)
        if kept is None or kept.status is not Status.RUNNING or kept.execution.owner != owner:
            return False
        kept.change(status=Status.ACCEPTED, owner=None, lease_until=None)
        kept.dispatched_at = self._clock.now()
        return True

    async def expired(self, now: datetime) -> Sequence[Execution]:
        return self._running(lambda execution: execution.lease_until is not None and execution.lease_until <= now)

    async def owned(self, owner_prefix: str) -> Sequence[Execution]:
        return self._running(lambda execution: (execution.owner or "").startswith(owner_prefix))

    async def stale_dispatches(self, before: datetime, limit: int) -> Sequence[Execution]:
        stale = [
            (kept.dispatched_at, kept.execution.id, kept)
            for kept in self._in(Status.ACCEPTED)
            if kept.execution.flow_run_id is not None and kept.dispatched_at is not None and kept.dispatched_at < before
        ]
        return [kept.light() for *_, kept in sorted(stale, key=lambda entry: entry[:2])[:limit]]

    async def undispatch(self, execution_id: str) -> None:
        kept = self._executions.get(execution_id)
        if kept is not None and kept.status is Status.ACCEPTED:
            kept.change(flow_run_id=None)
            kept.dispatched_at = kept.claimed_until = None

    async def request_cancel(self, execution_id: str, *, by: str, reason: str, now: datetime) -> Execution | None:
        kept = self._executions.get(execution_id)
        if kept is None:
            return None
        if not kept.status.is_final and kept.execution.cancel_requested is None:
            kept.change(cancel_requested={"by": by, "reason": reason})
        if kept.status is Status.ACCEPTED and kept.execution.flow_run_id is None:
            kept.change(status=Status.CANCELLED, finished_at=now)
        return kept.light()

    async def cancel_requests(self, execution_ids: Sequence[str]) -> Mapping[str, Json]:
        known = [self._executions[one].light() for one in execution_ids if one in self._executions]
        return {execution.id: execution.cancel_requested for execution in known if execution.cancel_requested}

    # Reading

    async def execution(self, execution_id: str) -> Execution | None:
        kept = self._executions.get(execution_id)
        return replace(kept.whole(), replayed_by=self._replayed_by(execution_id)) if kept else None

    async def execution_of_flow_run(self, flow_run_id: str) -> Execution | None:
        found = [kept for kept in self._newest_first() if kept.execution.flow_run_id == flow_run_id]
        return found[0].whole() if found else None

    async def finished(self, execution_ids: Sequence[str]) -> Mapping[str, Execution]:
        known = [self._executions[execution_id] for execution_id in execution_ids if execution_id in self._executions]
        return {kept.execution.id: kept.light() for kept in known if kept.status.is_final}

    async def executions(
        self,
        *,
        workflow: str | None = None,
        status: Status | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        found = [
            replace(kept.light(), output=None, replayed_by=self._replayed_by(kept.execution.id))
            for kept in self._newest_first()
            if (workflow is None or kept.execution.workflow == workflow)
            and (status is None or kept.status is status)
            and (since is None or kept.execution.accepted_at >= since)
            and (cursor is None or kept.execution.id < cursor)
        ]
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def counts(self) -> Mapping[Status, int]:
        return Counter(kept.status for kept in self._executions.values())

    # Keeping it small

    async def prune(self, *, before: datetime, limit: int) -> int:
        ended = ((kept.execution.finished_at, kept.execution.id) for kept in self._executions.values())
        old = sorted((at, execution_id) for at, execution_id in ended if at is not None and at < before)[:limit]
        for _, execution_id in old:
            del self._executions[execution_id]
        return len(old)

    async def end_of_newest(self, count: int) -> datetime | None:
        ends = sorted(kept.execution.finished_at for kept in self._executions.values() if kept.execution.finished_at)
        return ends[-count] if len(ends) > count else None

    async def forget_deliveries(self, *, now: datetime, limit: int) -> int:
        over = [key for key, (_, until) in self._deliveries.items() if until is not None and until <= now][:limit]
        for key in over:
            del self._deliveries[key]
        return len(over)

    async def compact(self) -> bool:
        return False

    def _replayed_by(self, execution_id: str) -> str | None:
        replays = [kept.execution.id for kept in self._executions.values() if kept.execution.replay_of == execution_id]
        return max(replays, default=None)

    def _in(self, status: Status) -> list[_Kept]:
        return [kept for kept in self._executions.values() if kept.status is status]

    def _newest_first(self) -> Iterable[_Kept]:
        return (self._executions[execution_id] for execution_id in sorted(self._executions, reverse=True))

    def _running(self, condition: Callable[[Execution], bool]) -> list[Execution]:
        found = [kept.light() for kept in self._in(Status.RUNNING) if condition(kept.execution)]
        return sorted(found, key=lambda execution: execution.id)


def _stored(value: Json) -> Json:
    """As a database would give it back, and nobody else's object."""
    return from_document(to_document(value))


def _step(step: StepExecution, limits: Limits) -> StepExecution:
    return replace(
        step,
        started_at=step.started_at and step.started_at.astimezone(UTC),
        finished_at=step.finished_at and step.finished_at.astimezone(UTC),
        output=from_document(output_document(step.output, limits)),
        error=_stored(step.error),
    )


def _keep(new: NewExecution, limits: Limits) -> _Kept:
    execution = Execution(
        id=new.id,
        workflow=new.workflow,
        version=new.version,
        trigger=new.trigger,
        status=Status.ACCEPTED,
        event=None,
        accepted_at=new.accepted_at.astimezone(UTC),
        flow_run_id=new.flow_run_id,
        replay_of=new.replay_of,
        parent_id=new.parent_id,
        trace=new.trace,
    )
    steps = {step.step_id: _step(step, limits) for step in new.steps}
    dispatched_at = new.accepted_at if new.flow_run_id else None
    return _Kept(execution, to_document(new.event), steps, dispatched_at=dispatched_at)
