"""The one way in which a step runs, whatever its kind and language: known? → condition → render → invoke → record.

What ended is not done again, what was decided is not decided again: a step that has begun in an earlier run of its
execution runs, whatever its condition would say now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from connectors.kit.call import Services
from flows.engine.doing import Doing
from flows.engine.failures import NotRun, error_document
from flows.engine.invoke import EngineAction, Invoke
from flows.engine.journal import Journal
from flows.engine.meter import Meter
from flows.engine.outside import Outside
from flows.engine.parking import Parked, Parking
from flows.history import Status, StepExecution, Wait
from flows.language.outcomes import Stopped
from flows.language.step import Scope, Step, with_address
from foundation.clock import Clock
from foundation.errors import IpaasError, StorageUnavailable
from foundation.log_fields import log_fields
from foundation.tracing import annotate, mark_failed, span


class Runnable(Protocol):
    """A step as the engine sees it: one of a YAML workflow, or a call that an author's function makes."""

    @property
    def action(self) -> str: ...
    @property
    def decides(self) -> bool:
        """Whether what `render` gives is recorded, and kept when it begins again."""
        ...

    @property
    def is_bound(self) -> bool:
        """Whether that has to be recorded before it does anything: it might come out otherwise when it begins again."""
        ...

    @property
    def is_instant(self) -> bool:
        """Whether only its end is recorded."""
        ...

    def wanted(self, scope: Scope) -> bool: ...
    def render(self, scope: Scope) -> Any: ...
    async def run(self, rendered: Any, doing: Doing) -> Any: ...


Perform = Callable[[Runnable, Any, Doing], Awaitable[Any]]
"""Does what a step does with what it rendered; its output. A seam: a test puts a result of its own in its place."""


async def perform(step: Runnable, rendered: Any, doing: Doing) -> Any:
    return await step.run(rendered, doing)


@dataclass(frozen=True)
class Steps:
    """The steps of one execution.

    Attributes:
        actions: all there are, by name.
        begun: those that run now in this process, by path.
        waits: what steps of earlier runs of the execution waited for, by path.
        alone: whether each call of an action is worth a task of its own.
    """

    execution_id: str
    journal: Journal
    services: Services
    clock: Clock
    meter: Meter
    invoke: Invoke
    actions: Mapping[str, EngineAction]
    outside: Outside
    perform: Perform = perform
    begun: dict[str, StepExecution] = field(default_factory=dict)
    waits: Mapping[str, Wait] = field(default_factory=dict)
    parking: Parking = field(default_factory=Parking)
    alone: bool = True

    def with_callbacks(self, scope: Scope, steps: Sequence[Step], prefix: str = "") -> Scope:
        """The scope, in which the addresses of these steps are known."""
        addresses = {one: self.outside.callback(kind, f"{prefix}{one}") for one, kind in with_address(steps)}
        return {**scope, "callbacks": {**scope.get("callbacks", {}), **addresses}} if addresses else scope

    def known(self, path: str) -> StepExecution | None:
        """How a step ended, if it did. One that another step's end cancelled has not: whoever comes by it runs it."""
        recorded = self.journal.steps.get(path)
        ended = recorded is not None and recorded.status.is_final and recorded.status is not Status.CANCELLED
        return recorded if ended else None

    async def run(
        self, step: Runnable, path: str, scope: Scope, after: Sequence[str] = (), *, prefix: str = ""
    ) -> StepExecution:
        """Runs the step unless it has ended before; how it ended.

        Args:
            path: where it is; `prefix` is where its blocks' steps are.
            after: the paths of the steps that it waited for.

        Raises:
            NotRun: the execution is not this process's any more.
            Parked: it waits for something outside.
            StorageUnavailable: it could not be recorded.
        """
        if self.parking.is_parked:  # an author's code that goes on all the same
            raise Parked
        if known := self.known(path):
            return known
        recorded = self.journal.steps.get(path)
        started_at = (recorded and recorded.started_at) or self.clock.now()
        begun = StepExecution(path, step.action, Status.RUNNING, started_at=started_at)
        doing = Doing(self, path, after, scope, prefix, started_at)
        with span("step", {"ipaas.step": path, "ipaas.action": step.action}), log_fields(step=path):
            try:
                return await self._ended(await self._run(step, begun, recorded, doing))
            except (StorageUnavailable, NotRun):
                raise
            except IpaasError as error:
                begun = self.begun.get(path, begun)  # with what was decided
                document = {"step": path, **error_document(error)}
                failed = replace(begun, status=Status.FAILED, attempts=doing.attempts, error=document)
                return await self._ended(failed)

    async def _run(
        self, step: Runnable, begun: StepExecution, recorded: StepExecution | None, doing: Doing
    ) -> StepExecution:
        """The record of its end, which is not saved yet."""
        scope = doing.scope
        if recorded is None and not step.wanted(scope):
            return replace(begun, status=Status.SKIPPED, attempts=0)
        decided = recorded.decision if recorded and step.decides else None
        rendered = decided or step.render(scope)
        if step.decides:
            begun = replace(begun, decision=rendered)
        if not step.is_instant:
            with self.parking.busy():
                await self.journal.started(begun, is_bound=step.is_bound)
            self.begun[begun.path] = begun
        doing.attempts = 1
        try:
            output = await self.perform(step, rendered, doing)
        except Stopped as stop:
            return replace(begun, status=Status.SUCCEEDED, decision={"stopped": stop.output})
        return replace(begun, status=Status.SUCCEEDED, attempts=doing.attempts, output=output)

    async def _ended(self, step: StepExecution) -> StepExecution:
        self.begun.pop(step.path, None)
        await self.cancel_inside({step.path})
        step = replace(step, finished_at=self.clock.now())
        with self.parking.busy():
            await self.journal.ended(step)
        self.meter.step_ended(step)
        annotate({"ipaas.status": step.status, "ipaas.attempts": step.attempts})
        if step.error:
            mark_failed(step.error["code"], step.error["message"])
        return step

    async def cancel_inside(self, paths: Collection[str]) -> None:
        """Records what still ran at these paths, or in rounds of loops there, and was cancelled by another's end."""
        left = [path for path in self.begun if any(path == one or path.startswith(f"{one}[") for one in paths)]
        for path in left:
            cancelled = replace(self.begun.pop(path), status=Status.CANCELLED, finished_at=self.clock.now())
            await self.journal.ended(cancelled)
