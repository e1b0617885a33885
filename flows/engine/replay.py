"""What a replay from a step takes over of the first execution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from flows.history import Status, StepExecution
from flows.language.for_each import ROUND
from flows.language.kinds import KINDS


def steps_before(steps: Sequence[StepExecution], path: str) -> Iterator[StepExecution]:
    """What was begun before the step at this path, and did what it should.

    A block that had not ended by then (the loop that the step is in, say) is to be walked again, with what it had
    decided: it goes to where it was, by what is kept of the steps inside it.

    Args:
        steps: in the order of their start.
    """
    index = [step.path for step in steps].index(path)
    begun = steps[index].started_at
    for step in steps[:index]:
        kind = KINDS.get(step.action)
        has_blocks = kind.has_blocks if kind else step.action == ROUND
        if has_blocks and not (begun and step.finished_at and step.finished_at < begun):
            decided = None if step.decision and "stopped" in step.decision else step.decision
            yield replace(step, status=Status.RUNNING, finished_at=None, output=None, error=None, decision=decided)
        elif step.status in (Status.SUCCEEDED, Status.SKIPPED):
            yield step
