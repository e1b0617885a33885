"""What Prefect is told of an execution: the flow run that is made for it, and what of its event is shown there."""

from __future__ import annotations

import json
from typing import Any

from flows.history import Execution
from flows.on_prefect.internals import TRACE_LABEL
from flows.on_prefect.run import EXECUTION_LABEL, VERSION_LABEL, WORKFLOW_LABEL, idempotency_key

SHOWN_DEPTH = 50
SHOWN_BYTES = 64 * 1024
"""An event up to this size is shown whole as the flow run's parameter; the worker reads it from the history anyway."""


def flow_run(deployment_id: str, execution: Execution, event: dict[str, Any]) -> dict[str, Any]:
    """What Prefect's route for creating runs takes."""
    return {
        "name": f"{execution.workflow}/{execution.id}",
        "parameters": {"event": event},
        "enforce_parameter_schema": False,  # the gateway has checked the workflow's `input` already
        "idempotency_key": idempotency_key(deployment_id, execution.id),
        "labels": {
            EXECUTION_LABEL: execution.id,
            WORKFLOW_LABEL: execution.workflow,
            VERSION_LABEL: execution.version,
            **({TRACE_LABEL: execution.trace} if execution.trace else {}),
        },
        "tags": [str(execution.trigger)],
    }


def shown_event(event: dict[str, Any]) -> dict[str, Any]:
    """The event as the flow run's parameter: for people to see, never for the workflow to read.

    What a sender may send is not always for Prefect: its server caps parameters, and it *renders* them: a dict with the
    key `__prefect_kind` is taken as an instruction (a template, a variable to look up). A run with deeply nested
    parameters can't be read any more, nor can the list of runs that it is in, which every worker asks for.
    """
    return show(event)[0]


def show(event: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The event as Prefect is shown it, and how many bytes the whole of it has."""
    reason, size = _not_shown_because(event)
    return hidden_event(event, reason) if reason else event, size


def hidden_event(event: dict[str, Any], reason: str) -> dict[str, Any]:
    shown = {"id": event.get("id"), "received_at": event.get("received_at")}
    return {**shown, "body": f"not shown here: {reason}; see the execution's event"}


def _not_shown_because(event: dict[str, Any]) -> tuple[str | None, int]:
    try:
        text = json.dumps(event, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except ValueError:  # a number beyond what JSON's readers take; half of a surrogate pair
        return "it has a value that has no form in UTF-8 JSON", SHOWN_BYTES
    if size > SHOWN_BYTES:
        return f"{size} bytes", size
    if "__prefect_kind" in text:
        return "it has a key that Prefect would act on", size
    if "\\u0000" in text:
        return "it has a NUL character, which PostgreSQL does not take", size
    if _depth(event) > SHOWN_DEPTH:
        return f"it is nested more than {SHOWN_DEPTH} levels deep", size
    return None, size


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return depth
