"""What failure triggers make of a failed execution, alike for every store.

A failure trigger starts its workflow when an execution of another one fails or times out. The new execution is made in
the transaction in which the failed one ends, whoever ends it: so none is missed, and none is made twice.

There is no storm: a workflow is not started for its own executions, nor for one that came of its being started by a
failure, however far back: its `parent_id` leads from each to the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase

from uuid_utils import uuid7

from flows.history.records import Execution, Json, NewExecution, Status, Trigger
from flows.history.shown import shown, times_written, written_time

SHOWN_CHARACTERS = 32 * 1024
"""Of JSON text; a larger event or output is left out of what the event of a failure trigger shows."""
SHOWN_STEPS = 50
"""How many steps it shows: those that failed, then the last ones."""
FAILURES = (Status.FAILED, Status.TIMED_OUT)

Watching = tuple[str, str, Sequence[str]]
"""An active workflow with a failure trigger: its name, its current version, its patterns."""


def declared_failures(declaration: Json) -> list[str]:
    """The patterns of a version's failure triggers."""
    triggers = declaration.get("triggers") if isinstance(declaration, Mapping) else None
    failures = [
        trigger["failure"] for trigger in triggers or () if isinstance(trigger, Mapping) and "failure" in trigger
    ]
    return [pattern for failure in failures for pattern in failure["of"]]


def watchers(workflow: str, watching: Iterable[Watching]) -> dict[str, str]:
    """Those that want to know of a failure of this workflow: name → version."""
    return {
        name: version
        for name, version, patterns in watching
        if name != workflow and any(fnmatchcase(workflow, pattern) for pattern in patterns)
    }


def started_by_failure(
    execution: Execution, watchers: Mapping[str, str], left_out: Sequence[str], at: datetime, ui_url: str | None
) -> list[NewExecution]:
    """The executions that a failed one starts.

    Args:
        execution: as it ended, but for what is left out.
        left_out: where in it something was left out: `output`, `steps.notify.output`.
    """
    body = times_written(shown(execution, ui_url)) | {"left_out": list(left_out)}
    return [
        NewExecution(
            id=str(uuid7()),
            workflow=name,
            version=version,
            trigger=Trigger.FAILURE,
            event={
                "id": str(uuid7()),
                "body": body,
                "headers": {},
                "query": {},
                "method": None,
                "path": None,
                "received_at": written_time(at),
            },
            accepted_at=at,
            parent_id=execution.id,
        )
        for name, version in sorted(watchers.items())
    ]
