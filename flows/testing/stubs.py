"""Results that stand in for what a step does; its condition, its arguments and its record are the engine's as ever."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flows.engine.doing import Doing
from flows.engine.failures import earlier_failure
from flows.engine.program import Program
from flows.engine.step import Perform, Runnable, perform
from flows.expressions import unknown
from flows.language.workflow import Workflow

_ROUND: Final = re.compile(r"\[\d+\]")

Stubs = Mapping[str, Mapping[str, Any]]
"""By path: `{"output": …}`, or `{"error": {"message": …, "code": …, "status": …}}` for a step that fails."""


def unknown_steps(program: Program, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of the paths whose step the workflow does not have, each with what to say of it.

    A Python workflow's steps are known when it has run.
    """
    workflow = program.declaration
    if not isinstance(workflow, Workflow):
        return
    ids = [step.id for step in workflow.every_step()]
    for path in paths:
        step = _ROUND.sub("", path).rpartition(".")[2]
        if step not in ids:
            yield path, unknown("step", step, ids)


def performing(stubs: Stubs) -> Perform:
    """Performs every step but the stubbed."""

    first: str | None = None

    async def do(step: Runnable, rendered: Any, doing: Doing) -> Any:
        nonlocal first
        first = first or doing.steps.execution_id
        if doing.path not in stubs or doing.steps.execution_id != first:  # another execution is of a called workflow
            return await perform(step, rendered, doing)
        stub = stubs[doing.path]
        if error := stub.get("error"):
            raise earlier_failure({"code": "action", **error})
        return stub.get("output")

    return do if stubs else perform
