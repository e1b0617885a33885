"""An express execution as Prefect is told of it: what its run did, noted while it runs, or read from the history."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from flows.engine.execution import Outcome
from flows.engine.invoke import Attempts, Invocation
from flows.history import Execution, NewWait, Status, StepExecution, Wait
from flows.language.for_each import MOST_TASKS, ROUND
from flows.language.kinds import KINDS
from flows.on_prefect.pausing import paused
from flows.on_prefect.recording import Details, Kind, LogLine, RunRecord, State, TaskRecord, TaskState
from flows.on_prefect.run import state_of
from foundation.clock import Clock
from foundation.masking import Masker
from ipaas.admission.shown import labels, shown_event

LOOP: Final = "for_each"
MOST_LINES: Final = 1_000
"""Of a run's log lines in Prefect; the later ones are counted."""

_logger = logging.getLogger("ipaas.step")


@dataclass(frozen=True)
class _Task:
    path: str
    action: str
    after: Sequence[str]
    started: datetime
    ended: datetime | None = None
    failure: BaseException | None = None


@dataclass
class NotedRun:
    """One run of an express execution: its `Invoke`, which notes each task and what is logged in it."""

    execution: Execution
    clock: Clock
    masker: Masker
    recorded_live: bool = field(default=False, init=False)
    """Prefect has been told that it runs."""
    _tasks: dict[str, _Task] = field(default_factory=dict, init=False)
    _lines: list[LogLine] = field(default_factory=list, init=False)
    _left_out: int = field(default=0, init=False)

    async def __call__(self, invocation: Invocation, attempts: Attempts) -> Any:
        path = invocation.path
        if not invocation.alone:
            return await attempts(_Lines(self, None))
        action = invocation.action.action_name if invocation.action else LOOP
        task = _Task(path, action, invocation.after, self.clock.now())
        self._tasks[path] = task
        failure: BaseException | None = None
        try:
            return await attempts(_Lines(self, path))
        except BaseException as error:
            failure = error
            raise
        finally:
            self._tasks[path] = task = replace(task, ended=self.clock.now(), failure=failure)
            kind, name = _end_of(task)
            level = logging.INFO if kind is Kind.COMPLETED else logging.ERROR
            self.note(level, f"Finished in state {name}()", path)

    def note(self, level: int, message: str, path: str | None) -> None:
        if len(self._lines) >= MOST_LINES:
            self._left_out += 1
            return
        text = _plain(self.masker.mask(message))
        self._lines.append(LogLine(at=self.clock.now(), level=level, message=text, task=path))

    def as_running(self) -> RunRecord:
        return self._record(self.execution, _running(self.execution))

    def as_ended(self, outcome: Outcome) -> RunRecord:
        ended_at = self.clock.now()
        if outcome.status is Status.WAITING:
            return self._waits(outcome.waits, ended_at)
        state = _end(outcome.status, outcome.failure or (outcome.error or {}).get("message"), ended_at)
        level = logging.INFO if state.type is Kind.COMPLETED else logging.ERROR
        said = repr(state.message) if state.message else ""
        self.note(level, f"Finished in state {state.name}({said})", None)
        return self._record(self.execution, state, ended=ended_at)

    def _waits(self, waits: Sequence[Wait | NewWait], at: datetime) -> RunRecord:
        shown = paused(waits)
        details = Details(pause_reschedule=True, run_input_keyset=shown.keyset)
        state = State(type=Kind.PAUSED, name=shown.name, timestamp=at, message=shown.message, details=details)
        return self._record(self.execution, state, inputs=shown.inputs)

    def _record(
        self, execution: Execution, state: State, ended: datetime | None = None, inputs: dict[str, str] | None = None
    ) -> RunRecord:
        lines = list(self._lines)
        if self._left_out:
            left_out = f"{self._left_out} further lines are not shown"
            lines.append(LogLine(at=self.clock.now(), level=logging.WARNING, message=left_out))
        earlier = {task.path: task for task in _tasks_of(execution.steps)}
        tasks = earlier | {task.path: _task(task) for task in self._tasks.values()}
        return _record(execution, state, list(tasks.values()), lines, ended, inputs or {})


def from_history(execution: Execution) -> RunRecord:
    """One that has ended, as far as the history knows: without log lines, and without what each task waited for."""
    assert execution.finished_at  # noqa: S101 - it has ended
    state = _end(execution.status, (execution.error or {}).get("message"), execution.finished_at)
    return _record(execution, state, list(_tasks_of(execution.steps)), [], execution.finished_at, {})


class _Lines(logging.LoggerAdapter[logging.Logger]):
    """Notes what is logged in a task. Warnings, and what is worse, are logged here, too."""

    def __init__(self, noted: NotedRun, path: str | None) -> None:
        super().__init__(_logger)
        self._noted, self._path = noted, path

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if level >= logging.INFO:
            self._noted.note(level, str(msg) % args if args else str(msg), self._path)
        if level >= logging.WARNING:
            super().log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


def _record(
    execution: Execution,
    state: State,
    tasks: list[TaskRecord],
    lines: list[LogLine],
    ended: datetime | None,
    inputs: dict[str, str],
) -> RunRecord:
    states = [State(type=Kind.SCHEDULED, name="Scheduled", timestamp=execution.accepted_at)]
    states[0] = states[0].model_copy(update={"details": Details(scheduled_time=execution.accepted_at)})
    if state.type is not Kind.RUNNING:
        states.append(_running(execution))
    return RunRecord(
        id=UUID(execution.id),
        workflow=execution.workflow,
        name=f"{execution.workflow}/{execution.id}",
        version=execution.version,
        parameters={"event": shown_event(execution)},
        tags=(str(execution.trigger),),
        labels=labels(execution),
        created=execution.accepted_at,
        started=execution.started_at,
        ended=ended,
        run_count=execution.runs,
        states=(*states, state),
        tasks=tuple(tasks),
        logs=tuple(lines),
        inputs=inputs,
    )


def _running(execution: Execution) -> State:
    begun_at = execution.begun_at or execution.started_at or execution.accepted_at
    return State(type=Kind.RUNNING, name="Running", timestamp=begun_at)


def _end(status: Status, failure: Exception | str | None, at: datetime) -> State:
    """As an orchestrated run ends."""
    message = _plain(str(failure)) if failure is not None else None
    shown = state_of(status, message)
    if isinstance(failure, Exception):
        message = f"Flow run encountered an exception: {type(failure).__name__}: {message}"
    return State(type=Kind(shown.type.value), name=shown.name or shown.type.value, timestamp=at, message=message)


def _task(task: _Task) -> TaskRecord:
    if task.ended is None:
        state = TaskState(type=Kind.RUNNING, name="Running")
    else:
        kind, name = _end_of(task)
        failure = task.failure
        message = f"Task run encountered an exception {type(failure).__name__}: {failure}" if failure else ""
        state = TaskState(type=kind, name=name, message=_plain(message) if kind is Kind.FAILED else "")
    at = {"started": task.started, "ended": task.ended}
    return TaskRecord(path=task.path, action=task.action, state=state, after=tuple(task.after), **at)


def _end_of(task: _Task) -> tuple[Any, str]:
    if task.failure is None:
        return Kind.COMPLETED, "Completed"
    return (Kind.FAILED, "Failed") if isinstance(task.failure, Exception) else (Kind.CANCELLED, "Cancelled")


def _tasks_of(steps: Sequence[StepExecution]) -> Iterator[TaskRecord]:
    """The steps that were tasks. A loop with more rounds than are shown each by itself was one."""
    per_loop = Counter(step.path.partition("[")[0] for step in steps if "[" in step.path)
    for step in steps:
        loop, is_inside = step.path.partition("[")[0], "[" in step.path
        is_long = per_loop[loop] > MOST_TASKS
        is_action = step.action not in KINDS and step.action != ROUND
        if step.started_at is None or step.finished_at is None or step.status is Status.SKIPPED:
            continue
        if (is_inside and not is_long and is_action) or (not is_inside and (is_long or is_action)):
            state = _step_state(step)
            yield TaskRecord(
                path=step.path, action=step.action, started=step.started_at, ended=step.finished_at, state=state
            )


def _step_state(step: StepExecution) -> TaskState:
    if step.status is Status.SUCCEEDED:
        return TaskState(type=Kind.COMPLETED, name="Completed")
    if step.status is Status.CANCELLED:
        return TaskState(type=Kind.CANCELLED, name="Cancelled")
    return TaskState(type=Kind.FAILED, name="Failed", message=_plain(str((step.error or {}).get("message") or "")))


def _plain(text: str) -> str:
    """In UTF-8 whatever it holds."""
    return text.encode(errors="backslashreplace").decode()
