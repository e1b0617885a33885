"""Failure triggers in memory; `flows.history.failed` says what they do."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from flows.history.documents import to_document
from flows.history.failed import (
    FAILURES,
    SHOWN_CHARACTERS,
    SHOWN_STEPS,
    Watching,
    declared_failures,
    started_by_failure,
    watchers,
)
from flows.history.memory.state import Kept, MemoryState, kept_execution
from flows.history.records import Execution, Json, StepExecution, Trigger


class MemoryFailures(MemoryState):
    def _start_after(self, failed: Kept, now: datetime) -> None:
        """Starts what wants to know of this execution, which has just failed."""
        named = watchers(failed.execution.workflow, self._watching())
        for name in self._came_of(failed):
            named.pop(name, None)
        if not named:
            return
        execution, left_out = _bounded(failed)
        for new in started_by_failure(execution, named, left_out, now, None):
            self._executions[new.id] = kept_execution(new, self._limits)

    def _watching(self) -> list[Watching]:
        found: list[Watching] = []
        for name, known in self._workflows.items():
            patterns = declared_failures(self._versions[name, known.current].declaration)
            if known.active and patterns:
                found.append((name, known.current, patterns))
        return found

    def _came_of(self, failed: Kept) -> list[str]:
        """The workflows that were started by a failure somewhere on the way to this execution."""
        names: list[str] = []
        one: Kept | None = failed
        while one is not None:
            if one.execution.trigger is Trigger.FAILURE:
                names.append(one.execution.workflow)
            one = self._executions.get(one.execution.parent_id or "")
        return names


def _bounded(failed: Kept) -> tuple[Execution, list[str]]:
    whole = failed.whole()
    last = list(reversed(list(failed.steps)))
    kept = sorted(last, key=lambda path: failed.steps[path].status not in FAILURES)[:SHOWN_STEPS]
    steps = [step for step in whole.steps if step.path in kept]
    left_out = [name for name in ("event", "output") if _is_large(getattr(whole, name))]
    left_out += ["steps"] if len(last) > SHOWN_STEPS else []
    left_out += [f"steps.{step.path}.output" for step in steps if _is_large(step.output)]
    bounded = replace(
        whole,
        event=_small(whole.event),
        output=_small(whole.output),
        steps=tuple(_small_step(step) for step in steps),
    )
    return bounded, left_out


def _small_step(step: StepExecution) -> StepExecution:
    return replace(step, output=_small(step.output))


def _small(value: Json) -> Json:
    return None if _is_large(value) else value


def _is_large(value: Json) -> bool:
    return len(to_document(value)) > SHOWN_CHARACTERS
