"""Walks a workflow's steps for one event: those whose needs are met run at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from flows.engine.failures import StepFailed
from flows.engine.step import Steps
from flows.history import Status
from flows.language.step import Step


async def walk(steps: Sequence[Step], scope: dict[str, Any], run: Steps) -> None:
    """Runs the steps of a block; `scope["steps"]` has the outcome of each that has ended.

    Raises:
        StepFailed: a step failed, and is not one that may.
    """
    await _Walk(scope, run).block(steps)


class _Walk:
    def __init__(self, scope: dict[str, Any], run: Steps) -> None:
        self._scope, self._run = scope, run

    async def block(self, steps: Sequence[Step]) -> None:
        if all(step.after == (before.id,) for before, step in pairwise(steps)):
            for step in steps:  # one after the other, as most workflows are: no task for each
                await self._step(step)
            return
        try:
            async with asyncio.TaskGroup() as group:
                tasks: dict[str, asyncio.Task[None]] = {}
                for step in steps:
                    tasks[step.id] = group.create_task(self._step_after([tasks[one] for one in step.after], step))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _step_after(self, before: Sequence[asyncio.Task[None]], step: Step) -> None:
        if before:
            await asyncio.wait(before)
            if any(task.cancelled() or task.exception() for task in before):
                return  # the group is being cancelled
        await self._step(step)

    async def _step(self, step: Step) -> None:
        ended = await self._run.run(step, step.id, self._scope, step.after)
        if ended.status is Status.FAILED and step.on_error == "fail":
            raise StepFailed(ended.path, ended.error)
        self._scope["steps"][step.id] = {"output": ended.output, "status": ended.status, "error": ended.error}
