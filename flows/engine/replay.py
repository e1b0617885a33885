"""What a replay takes over of the first execution: what came before a step, or all that succeeded.

A block that is to be walked again (the loop that a step is in, say) keeps what it had decided: it goes to where it was,
by what is kept of the steps inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from flows.history import Execution, Status, StepExecution
from flows.language.for_each import ROUND
from flows.language.kinds import KINDS

_DONE = (Status.SUCCEEDED, Status.SKIPPED)


def steps_before(steps: Sequence[StepExecution], path: str) -> Iterator[StepExecution]:
    """What was begun before the step at this path, and did what it should.

    Args:
        steps: in the order of their start.
    """
    index = [step.path for step in steps].index(path)
    begun = steps[index].started_at
    for step in steps[:index]:
        if _has_blocks(step) and not (begun and step.finished_at and step.finished_at < begun):
            yield _reopened(step)
        elif step.status in _DONE:
            yield step


def steps_that_succeeded(execution: Execution) -> Iterator[StepExecution]:
    """All but what failed and what that held up: items of a loop one by one, also of one that tolerated it.

    What ran because the execution had failed (`on_failure`) runs again if it fails again.
    """
    failed = [step for step in execution.steps if step.status not in _DONE and not _has_blocks(step)]
    path, ended_at = (execution.error or {}).get("step"), None
    for step in execution.steps:
        if ended_at and step.started_at and step.started_at >= ended_at:
            continue
        if step.path == path:
            ended_at = step.finished_at
        if _has_blocks(step) and (step.status not in _DONE or any(_is_inside(one, step) for one in failed)):
            yield _reopened(step)
        elif step.status in _DONE:
            yield step


def _has_blocks(step: StepExecution) -> bool:
    kind = KINDS.get(step.action)
    return kind.has_blocks if kind else step.action == ROUND


def _reopened(step: StepExecution) -> StepExecution:
    decided = None if step.decision and "stopped" in step.decision else step.decision
    return replace(step, status=Status.RUNNING, finished_at=None, output=None, error=None, decision=decided)


def _is_inside(step: StepExecution, block: StepExecution) -> bool:
    """Whether a step is of a loop's round, or ran while a block did beside which it is named."""
    if step.path.startswith(f"{block.path}["):
        return True
    if not step.path.startswith(block.path[: block.path.rfind("].") + 2] if "]." in block.path else ""):
        return False
    times = step.started_at, block.started_at, block.finished_at
    return None not in times and block.started_at <= step.started_at <= block.finished_at  # type: ignore[operator]
