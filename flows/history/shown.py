"""An execution as people see it: in the management API, on the command line, in the event of a failure trigger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flows.history.records import Execution, Json, StepExecution


def shown_summary(execution: Execution, ui_url: str | None) -> dict[str, Any]:
    """An execution as lists show it. `ui_url` is Prefect's UI, for the link to the flow run."""
    run = execution.shown_as
    return {
        "id": execution.id,
        "workflow": execution.workflow,
        "version": execution.version,
        "mode": execution.mode,
        "trigger": execution.trigger,
        "status": execution.status,
        "error": execution.error,
        "accepted_at": execution.accepted_at,
        "started_at": execution.started_at,
        "finished_at": execution.finished_at,
        "flow_run_id": run,
        "flow_run_url": f"{ui_url}/runs/flow-run/{run}" if run and ui_url else None,
        "parent_id": execution.parent_id,
        "replay_of": execution.replay_of,
        "replayed_by": execution.replayed_by,
    }


def shown(execution: Execution, ui_url: str | None) -> dict[str, Any]:
    """An execution with its event, output and steps."""
    return shown_summary(execution, ui_url) | {
        "waiting_for": None,
        "event": execution.event,
        "output": execution.output,
        "steps": [_step(step) for step in execution.steps],
    }


def _step(step: StepExecution) -> dict[str, Any]:
    return {
        "id": step.path,
        "action": step.action,
        "status": step.status,
        "attempts": step.attempts,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "output": step.output,
        "error": step.error,
    }


def written_time(at: datetime) -> str:
    """RFC 3339, in UTC."""
    return at.isoformat().replace("+00:00", "Z")


def times_written(value: Json) -> Json:
    """The value with its times written out."""
    if isinstance(value, datetime):
        return written_time(value)
    if isinstance(value, dict):
        return {key: times_written(item) for key, item in value.items()}
    return [times_written(item) for item in value] if isinstance(value, list) else value
