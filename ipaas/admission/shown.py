"""What Prefect is told of an execution: the flow run that is made for it, and what of its event is shown there."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from flows.history import Execution
from flows.history.documents import HANDED_OVER_CHARACTERS, Document, from_document
from flows.on_prefect.internals import TRACE_LABEL
from flows.on_prefect.run import EXECUTION_LABEL, VERSION_LABEL, WORKFLOW_LABEL, idempotency_key

PARENT_LABEL = "ipaas.parent"
"""The execution that called it, or whose failure started it."""
SHOWN_DEPTH = 50


def flow_run(deployment_id: str, execution: Execution, event: dict[str, Any]) -> dict[str, Any]:
    """What Prefect's route for creating runs takes."""
    return {
        "name": f"{execution.workflow}/{execution.id}",
        "parameters": {"event": event},
        "enforce_parameter_schema": False,  # the gateway has checked the workflow's `input` already
        "idempotency_key": idempotency_key(deployment_id, execution.id),
        "labels": labels(execution),
        "tags": [str(execution.trigger)],
    }


def labels(execution: Execution) -> dict[str, str]:
    return {
        EXECUTION_LABEL: execution.id,
        WORKFLOW_LABEL: execution.workflow,
        VERSION_LABEL: execution.version,
        **({TRACE_LABEL: execution.trace} if execution.trace else {}),
        **({PARENT_LABEL: execution.parent_id} if execution.parent_id else {}),
    }


def shown_event(execution: Execution) -> dict[str, Any]:
    """The event as the flow run's parameter: for people to see, never for the workflow to read.

    What a sender may send is not always for Prefect: its server caps parameters, and it *renders* them: a dict with the
    key `__prefect_kind` is taken as an instruction (a template, a variable to look up). A run with deeply nested
    parameters can't be read any more, nor can the list of runs that it is in, which every worker asks for.

    Args:
        execution: whole; or as `admit` gives it, with its event as text, or without when it is large.
    """
    if execution.event is None:
        return hidden_event(execution.accepted_at, "it is large")
    is_text = isinstance(execution.event, Document)
    event: dict[str, Any] = from_document(execution.event) if is_text else execution.event
    reason = _not_shown_because(event)
    return hidden_event(execution.accepted_at, reason) if reason else event


def hidden_event(accepted_at: datetime, reason: str) -> dict[str, Any]:
    return {
        "received_at": accepted_at.isoformat(),
        "body": f"not shown here: {reason}; see the execution's event",
    }


def _not_shown_because(event: dict[str, Any]) -> str | None:
    try:
        text = json.dumps(event, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError:  # a number beyond what JSON's readers take; half of a surrogate pair
        return "it has a value that has no form in UTF-8 JSON"
    if len(text) > HANDED_OVER_CHARACTERS:
        return "it is large"
    if "__prefect_kind" in text:
        return "it has a key that Prefect would act on"
    if "\\u0000" in text:
        return "it has a NUL character, which PostgreSQL does not take"
    if _depth(event) > SHOWN_DEPTH:
        return f"it is nested more than {SHOWN_DEPTH} levels deep"
    return None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return depth
