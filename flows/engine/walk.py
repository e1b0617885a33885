"""Walks a block of a workflow's steps for one event: those whose needs are met run at the same time."""

from __future__ import annotations

import asyncio
import graphlib
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from flows.history import Status, StepExecution
from flows.language.outcomes import StepFailed, Stopped, raise_first
from flows.language.step import Scope, Step

if TYPE_CHECKING:
    from flows.engine.step import Steps


async def walk(steps: Sequence[Step], scope: Scope, run: Steps, prefix: str = "", after: Sequence[str] = ()) -> Any:
    """Runs the steps of a block; the output of its last one.

    Args:
        scope: `scope["steps"]` gets the outcome of each that has ended.
        prefix: what stands in their paths before their ids: the round of a loop.
        after: the paths of the steps that the block itself waited for.

    Raises:
        StepFailed: a step failed, and is not one that may.
        Stopped: a step ended the whole execution.
    """
    block = _Block(steps, scope, run, prefix, after)
    try:
        await block.run()
    finally:
        block.note_the_rest()
    return scope["steps"][steps[-1].id]["output"] if steps else None


async def run_one(step: Step, path: str, scope: Scope, run: Steps, after: Sequence[str]) -> Any:
    """Runs one step that is no block's; its output. Raises as `walk`."""
    ended = await run.run(step, path, scope, after)
    raise_end(step, ended)
    return ended.output


def raise_end(step: Step, ended: StepExecution) -> None:
    """Raises what the end of the step means for its block, unless that goes on."""
    if ended.decision and "stopped" in ended.decision:
        raise Stopped(ended.decision["stopped"])
    if ended.status is Status.FAILED and step.on_error == "fail":
        raise StepFailed(ended.path, ended.error)


class _Block:
    def __init__(self, steps: Sequence[Step], scope: Scope, run: Steps, prefix: str, after: Sequence[str]) -> None:
        self._steps, self._run, self._prefix, self._after = steps, run, prefix, after
        self._scope = scope
        self._outcomes: dict[str, Any] = scope["steps"]

    async def run(self) -> None:
        if all(step.after == (before.id,) for before, step in pairwise(self._steps)):
            for step in self._steps:  # one after the other, as most workflows are: no task for each
                await self._step(step)
            return
        self._raise_known_end()
        try:
            async with asyncio.TaskGroup() as group:
                tasks: dict[str, asyncio.Task[None]] = {}
                for step in _in_order(self._steps):
                    tasks[step.id] = group.create_task(self._step_after([tasks[one] for one in step.after], step))
        except BaseExceptionGroup as errors:
            raise_first(errors)

    def note_the_rest(self) -> None:
        """Steps that were not reached count as skipped, for those who look at them afterwards."""
        for step in self._steps:
            self._note(step.id, *step.inside)

    def _note(self, *ids: str) -> None:
        for one in ids:
            recorded = self._run.journal.steps.get(f"{self._prefix}{one}")
            if recorded or one not in self._outcomes:
                self._outcomes[one] = _outcome(recorded)

    def _raise_known_end(self) -> None:
        """If a step ended this block in an earlier run of the execution, those at its side do not run again."""
        known = [(step, ended) for step in self._steps if (ended := self._run.known(f"{self._prefix}{step.id}"))]
        known.sort(key=lambda pair: str(pair[1].finished_at))  # all are in UTC
        for step, ended in known:
            raise_end(step, ended)

    async def _step_after(self, before: Sequence[asyncio.Task[None]], step: Step) -> None:
        if before:
            await asyncio.wait(before)
            if any(task.cancelled() or task.exception() for task in before):
                return  # the group is being cancelled
        await self._step(step)

    async def _step(self, step: Step) -> None:
        path = f"{self._prefix}{step.id}"
        self._note(*step.inside)  # one of its blocks may look at another one that does not run
        after = [f"{self._prefix}{one}" for one in step.after] or self._after
        ended = await self._run.run(step, path, self._scope, after, prefix=self._prefix)
        self._outcomes[step.id] = _outcome(ended)
        self._note(*step.inside)
        raise_end(step, ended)


def _in_order(steps: Sequence[Step]) -> list[Step]:
    """Each after those that it waits for."""
    by_id = {step.id: step for step in steps}
    order = graphlib.TopologicalSorter({step.id: step.after for step in steps}).static_order()
    return [by_id[one] for one in order]


def _outcome(recorded: StepExecution | None) -> dict[str, Any]:
    """A step as expressions see it; one without a record was not reached, one that still ran was cancelled."""
    if recorded is None:
        return {"output": None, "status": Status.SKIPPED, "error": None}
    status = recorded.status if recorded.status.is_final else Status.CANCELLED
    return {"output": recorded.output, "status": status, "error": recorded.error}
