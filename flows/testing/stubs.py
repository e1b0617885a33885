"""Results that stand in for what a step does; its condition, its arguments and its record are the engine's as ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.engine.doing import Doing
from flows.engine.failures import earlier_failure
from flows.engine.step import Perform, Runnable, perform

Stubs = Mapping[str, Mapping[str, Any]]
"""By path: `{"output": …}`, or `{"error": {"message": …, "code": …, "status": …}}` for a step that fails."""


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
