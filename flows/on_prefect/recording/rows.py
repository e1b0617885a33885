"""The rows of Prefect's tables that a record becomes, besides those that are there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from prefect.server.schemas.core import FlowRunPolicy, TaskRunPolicy
from prefect.server.schemas.states import StateDetails
from prefect.settings import PREFECT_LOGGING_TO_API_MAX_LOG_SIZE

from flows.on_prefect.recording.present import Deployment, RunPresent, TaskPresent
from flows.on_prefect.recording.records import Kind, LogLine, RunRecord, State, TaskRecord
from flows.on_prefect.run import idempotency_key

Row = dict[str, Any]

TICK: Final = timedelta(microseconds=1)
"""What Prefect's tables tell times apart by: no two states of a run may have the same."""
FLOW_RUN_POLICY: Final = FlowRunPolicy(retries=0, retry_delay=0)
TASK_RUN_POLICY: Final = TaskRunPolicy(retries=0, retry_delay=0)


@dataclass(frozen=True)
class Change:
    """A run that is in another state than it was before: what its event tells of."""

    run: RunRecord
    deployment: Deployment
    state_id: UUID
    state: State
    before: State | None
    follows: UUID | None
    """The state that Prefect had it in before, whose event is out already."""


@dataclass
class Rows:
    """By table: to insert, unless the name says that they change what is there."""

    runs: list[Row] = field(default_factory=list)
    changed_runs: list[Row] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)
    tasks: list[Row] = field(default_factory=list)
    changed_tasks: list[Row] = field(default_factory=list)
    task_states: list[Row] = field(default_factory=list)
    logs: list[Row] = field(default_factory=list)
    artifacts: list[Row] = field(default_factory=list)
    inputs: list[Row] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    repeated: list[Change] = field(default_factory=list)
    """Told before: their events are out, unless the server died in between."""

    def add(self, run: RunRecord, deployment: Deployment, present: RunPresent | None, now: datetime) -> None:
        self._add_state(run, deployment, present, now)
        for task in run.tasks:
            self._add_task(run, task, present.tasks if present else {}, now)
        self.logs += _logs(run, now)
        if run.artifact:
            self.artifacts.append(_artifact(run, now))
        for key, value in run.inputs.items():
            stamps = {"id": derived(run.id, f"input:{key}"), "created": now, "updated": now}
            self.inputs.append(stamps | {"flow_run_id": run.id, "key": key, "value": clean(value), "sender": None})

    def _add_state(self, run: RunRecord, deployment: Deployment, present: RunPresent | None, now: datetime) -> None:
        ids = [_state_id(run.id, state) for state in run.states]
        if present and not _follows_on(ids[-1], run.state, present):
            if present.state and present.state_id == ids[-1]:
                before = run.states[-2] if len(run.states) > 1 else None
                self.repeated.append(Change(run, deployment, ids[-1], present.state, before, None))
            return
        known = present.states if present else {}
        last = max(known.values(), default=None)
        for state_id, state in zip(ids, run.states, strict=True):
            if state_id in known:
                continue
            last = _after(last, state.timestamp)
            details = state.details.model_dump(exclude_none=True)
            if state.type is Kind.SCHEDULED:
                details.setdefault("scheduled_time", state.timestamp)
            message = None if state.message is None else clean(state.message)
            self.states.append(
                _state(state_id, state.type, state.name, last, message, now)
                | {"flow_run_id": run.id, "state_details": StateDetails(flow_run_id=run.id, **details)}
            )
        at: datetime = self.states[-1]["timestamp"]
        shown = run.state.model_copy(update={"timestamp": at, "message": self.states[-1]["message"]})
        before = present.state if present else (run.states[-2] if len(run.states) > 1 else None)
        self.changes.append(Change(run, deployment, ids[-1], shown, before, present.state_id if present else None))
        changed = {
            "updated": now,
            "state_type": run.state.type,
            "state_name": run.state.name,
            "state_timestamp": at,
            "run_count": run.run_count,
            "start_time": run.started,
            "end_time": run.ended,
            "total_run_time": _running_time(run.states),
            "next_scheduled_start_time": None,
        }
        if present:
            self.changed_runs.append(changed | {"run_id": run.id, "state_id": ids[-1]})
        else:
            self.runs.append(_new_run(run, deployment) | changed | {"state_id": ids[-1]})

    def _add_task(self, run: RunRecord, task: TaskRecord, present: Mapping[UUID, TaskPresent], now: datetime) -> None:
        task_id = task_run_id(run.id, task.path)
        there = present.get(task_id)
        if there and there.final:
            return
        kinds = [(Kind.PENDING, "Pending", task.started - TICK, ""), (Kind.RUNNING, "Running", task.started, "")]
        if task.ended:
            kinds.append((task.state.type, task.state.name, task.ended, clean(task.state.message)))
        last = max(there.states.values(), default=None) if there else None
        for kind, name, time, message in kinds:
            state_id = derived(task_id, f"state:{kind}")
            if there is None or state_id not in there.states:
                last = _after(last, time)
                details = StateDetails(flow_run_id=run.id, task_run_id=task_id)
                of = {"task_run_id": task_id, "state_details": details}
                self.task_states.append(_state(state_id, kind, name, last, message, now) | of)
        changed = {
            "updated": now,
            "state_type": task.state.type,
            "state_name": task.state.name,
            "state_timestamp": last,
            "run_count": task.run_count,
            "start_time": task.started,
            "end_time": task.ended,
            "total_run_time": _between(task.started, task.ended),
        }
        present_state = derived(task_id, f"state:{task.state.type}")
        if there:
            self.changed_tasks.append(changed | {"run_id": task_id, "state_id": present_state})
        else:
            new = _new_task(run, task, task_id) | {"created": now, "state_id": present_state}
            self.tasks.append(new | changed)


def derived(of: UUID, name: str) -> UUID:
    """An id that is the same however often it is made.

    Hashed, because ids of one millisecond differ in a few bits only.
    """
    return UUID(bytes=blake2b(name.encode(), digest_size=16, key=of.bytes).digest())


def task_run_id(run: UUID, path: str) -> UUID:
    return derived(run, f"task:{path}")


def clean(text: str) -> str:
    """A text for people as PostgreSQL takes it. Prefect does the same to its logs."""
    return text.replace("\x00", "")


def _follows_on(state_id: UUID, state: State, present: RunPresent) -> bool:
    """Whether a run's state is news.

    A run that has ended stays as it ended. A state that the run had before is no news, whatever came after it: somebody
    has cancelled, resumed or retried the run in Prefect since. And who was asked to cancel ends, or does not.
    """
    if state_id in present.states:
        return False
    if present.state is None:
        return True
    return not present.state.type.is_final and (state.type.is_final or present.state.type is not Kind.CANCELLING)


def _state_id(run: UUID, state: State) -> UUID:
    return derived(run, f"state:{state.type}:{state.name}:{state.timestamp.astimezone(UTC).isoformat()}")


def _after(last: datetime | None, time: datetime) -> datetime:
    return time if last is None else max(time, last + TICK)


def _state(state_id: UUID, kind: Kind, name: str, at: datetime, message: str | None, now: datetime) -> Row:
    of = {"id": state_id, "created": now, "updated": now, "type": kind, "name": name, "timestamp": at}
    return of | {"message": message, "data": None}


def _between(started: datetime, ended: datetime | None) -> timedelta:
    return max(ended - started, timedelta(0)) if ended else timedelta(0)


def _running_time(states: Sequence[State]) -> timedelta:
    """Without that of a Running that it is still in, as Prefect counts."""
    running = (_between(one.timestamp, then.timestamp) for one, then in pairwise(states) if one.type is Kind.RUNNING)
    return sum(running, timedelta(0))


def _new_run(run: RunRecord, deployment: Deployment) -> Row:
    system = {"prefect.flow.id": str(deployment.flow_id), "prefect.deployment.id": str(deployment.id)}
    return {
        "id": run.id,
        "created": run.created,
        "name": run.name,
        "expected_start_time": run.created,
        "flow_id": deployment.flow_id,
        "deployment_id": deployment.id,
        "work_queue_id": deployment.queue_id,
        "work_queue_name": None,
        "flow_version": run.version,
        "deployment_version": deployment.version,
        "parameters": run.parameters,
        "idempotency_key": idempotency_key(str(deployment.id), str(run.id)),
        "context": {},
        "empirical_policy": FLOW_RUN_POLICY,
        "tags": list(run.tags),
        "labels": deployment.labels | system | run.labels,
        "job_variables": {},
        "auto_scheduled": False,
    }


def _new_task(run: RunRecord, task: TaskRecord, task_id: UUID) -> Row:
    waited_for = [{"input_type": "task_run", "id": str(task_run_id(run.id, path))} for path in task.after]
    return {
        "id": task_id,
        "name": task.path,
        "expected_start_time": task.started,
        "next_scheduled_start_time": None,
        "flow_run_id": run.id,
        "task_key": task.action,
        "dynamic_key": task.path,
        "flow_run_run_count": 1,
        "empirical_policy": TASK_RUN_POLICY,
        "task_inputs": {"wait_for": waited_for} if waited_for else {},
        "tags": [],
        "labels": {},
    }


def _logs(run: RunRecord, now: datetime) -> Iterable[Row]:
    seen: Counter[bytes] = Counter()
    for line in run.logs:
        said = f"{line.at.astimezone(UTC).isoformat()}\n{line.level}\n{line.task}\n{line.message}"
        digest = blake2b(said.encode(), digest_size=16).digest()
        seen[digest] += 1  # the same may be said twice at the same time
        yield {
            "id": derived(run.id, f"log:{digest.hex()}:{seen[digest]}"),
            "created": now,
            "updated": now,
            "name": "prefect.flow_runs" if line.task is None else "prefect.task_runs",
            "level": line.level,
            "flow_run_id": run.id,
            "task_run_id": None if line.task is None else task_run_id(run.id, line.task),
            "message": _cut(line),
            "timestamp": line.at,
        }


def _cut(line: LogLine) -> str:
    most: int = PREFECT_LOGGING_TO_API_MAX_LOG_SIZE.value()
    message = clean(line.message)
    if len(message) <= most:
        return message
    note = f"… (cut: it had {len(message):,} characters)"
    return message[: max(most - len(note), 0)] + note


def _artifact(run: RunRecord, now: datetime) -> Row:
    artifact = run.artifact
    assert artifact is not None  # noqa: S101 - asked for by its caller
    return {
        "id": derived(run.id, f"artifact:{artifact.key}"),
        "created": now,
        "updated": now,
        "key": artifact.key,
        "type": artifact.type,
        "data": clean(artifact.data),
        "description": None if artifact.description is None else clean(artifact.description),
        "flow_run_id": run.id,
        "task_run_id": None,
        "metadata_": None,
    }
