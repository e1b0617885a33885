"""Records from rows and rows from records, alike for every store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flows.history import flow_control
from flows.history.documents import Document, document_or_none, from_document, limited_document
from flows.history.records import (
    Execution,
    Json,
    Limits,
    Mode,
    Status,
    StepExecution,
    Trigger,
    Wait,
    WaitKind,
    Workflow,
    WorkflowVersion,
)

Row = dict[str, Any]

_DOCUMENTS = ("output", "error", "answer", "cancel_requested")
_EXECUTION = tuple(name for name in Execution.__dataclass_fields__ if name not in ("event", "steps", "waits"))
_STEP = tuple(StepExecution.__dataclass_fields__)
_WAIT = tuple(Wait.__dataclass_fields__)
KEPT_FOR_CALLER = 30 * 86_400.0
"""Seconds that the end of a called execution is kept for a caller that has not begun to wait for it."""

_VERSION = tuple(WorkflowVersion.__dataclass_fields__)


def execution_of(
    row: Mapping[Any, Any], *, event: Json = None, steps: Iterable[StepExecution] = (), waits: Sequence[Wait] = ()
) -> Execution:
    """The record of a row, whose `output` and `answer` may be left out."""
    values: dict[str, Any] = {name: row.get(name) for name in _EXECUTION}
    values |= {name: from_document(values[name]) for name in _DOCUMENTS}
    values |= {"trigger": Trigger(values["trigger"]), "status": Status(values["status"])}
    values["mode"] = Mode(values["mode"]) if values["mode"] else None
    if values["admitted_at"] is None and values["status"] is Status.ACCEPTED:
        values["waiting_for"] = flow_control.waiting_for(row["lane"], flow_control.from_text(row["flow_keys"])[0])
    return Execution(**values, event=event, steps=in_order_of_start(steps), waits=waits)


def step_of(row: Mapping[Any, Any]) -> StepExecution:
    values = {name: row[name] for name in _STEP}
    values |= {name: from_document(values[name]) for name in ("output", "error", "decision")}
    return StepExecution(**values | {"status": Status(values["status"])})


def wait_of(row: Mapping[Any, Any]) -> Wait:
    values = {name: row[name] for name in _WAIT}
    values |= {name: from_document(values[name]) for name in ("document", "answer")}
    return Wait(**values | {"kind": WaitKind(values["kind"]), "answered": bool(values["answered"])})


def version_of(row: Mapping[Any, Any]) -> WorkflowVersion:
    values = {name: row[name] for name in _VERSION}
    values |= {"tags": tuple(from_document(values["tags"])), "declaration": from_document(values["declaration"])}
    return WorkflowVersion(**values)


def workflow_of(row: Mapping[Any, Any]) -> Workflow:
    return Workflow(
        name=row["name"],
        active=row["active"],
        current=version_of(row),
        deployment_id=row["deployment_id"],
        updated_at=row["updated_at"],
        concurrency_limit=row["concurrency_limit"],
        overflow=row["overflow"],
    )


def checked_limit(limit: int) -> int:
    """Raises ValueError."""
    if limit < 0:
        raise ValueError(f"{limit} is no limit of executions at once")
    return limit


def require_end(status: Status) -> None:
    """Raises ValueError."""
    if not status.is_final:
        raise ValueError(f"{status} is no end")


def in_order_of_start(steps: Iterable[StepExecution]) -> tuple[StepExecution, ...]:
    """Steps, given in the order of their first save; one that never started stays behind the one it was saved after."""
    latest = datetime.min.replace(tzinfo=UTC)
    timed: list[tuple[datetime, StepExecution]] = []
    for step in steps:
        latest = step.started_at or step.finished_at or latest
        timed.append((latest, step))
    return tuple(step for _, step in sorted(timed, key=lambda pair: pair[0]))


def written(step: StepExecution, limits: Limits) -> StepExecution:
    """The step with its documents as text. Raises TooLarge: the output or the decision is."""
    return replace(
        step,
        output=_text(limited_document(step.output, limits)),
        error=_text(document_or_none(step.error)),
        decision=_text(limited_document(step.decision, limits, "decision")),
    )


def _text(document: str | None) -> Document | None:
    return None if document is None else Document(document)


def step_row(execution_id: str, step: StepExecution, limits: Limits, place: Callable[[str | None], str | None]) -> Row:
    """The row of a step. `place` says what stands in it for a large document.

    Raises:
        TooLarge: the output or the decision is.
    """
    text = written(step, limits)
    return {
        "execution_id": execution_id,
        "path": step.path,
        "action": step.action,
        "status": step.status.value,
        "attempts": step.attempts,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "output": place(text.output),
        "error": text.error,
        "decision": place(text.decision),
    }


def end_of_open_steps(status: Status) -> Status:
    """How steps end that were still running when their execution ended."""
    return status if status in (Status.FAILED, Status.TIMED_OUT) else Status.CANCELLED
