"""The one way in which a step runs, whatever its kind and language: known? → condition → render → invoke → record.

What ended is not done again, what was decided is not decided again: a step that has begun in an earlier run of its
execution runs, whatever its condition would say now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from connectors.kit.attempts import run_attempts
from connectors.kit.call import Call, Services
from connectors.kit.retry import RetryPolicy
from flows.engine.failures import NotRun, error_document
from flows.engine.invoke import EngineAction, Invocation, Invoke, Logger
from flows.engine.journal import Journal
from flows.engine.meter import Meter
from flows.history import Status, StepExecution
from flows.language.step import ActionStep, Scope
from foundation.clock import Clock
from foundation.errors import IpaasError, StorageUnavailable
from foundation.log_fields import log_fields
from foundation.tracing import annotate, mark_failed, span


class Runnable(Protocol):
    """A step as the engine sees it: one of a YAML workflow, or a call that an author's function makes."""

    @property
    def action(self) -> str: ...
    def wanted(self, scope: Scope) -> bool: ...
    def render(self, scope: Scope) -> Any: ...
    async def run(self, rendered: Any, doing: Doing) -> Any: ...


@dataclass(frozen=True)
class Steps:
    """The steps of one execution.

    Attributes:
        actions: all there are, by name.
    """

    execution_id: str
    journal: Journal
    services: Services
    clock: Clock
    meter: Meter
    invoke: Invoke
    actions: Mapping[str, EngineAction]

    async def run(self, step: Runnable, path: str, scope: Scope, after: Sequence[str] = ()) -> StepExecution:
        """Runs the step unless it has ended before; how it ended.

        Raises:
            NotRun: the execution is not this process's any more.
            StorageUnavailable: it could not be recorded.
        """
        recorded = self.journal.steps.get(path)
        if recorded and recorded.status.is_final:
            return recorded
        record = StepExecution(path, step.action, Status.RUNNING, started_at=self.clock.now())
        doing = Doing(self, path, after)
        with span("step", {"ipaas.step": path, "ipaas.action": step.action}), log_fields(step=path):
            try:
                if recorded is None and not step.wanted(scope):
                    return await self._ended(replace(record, status=Status.SKIPPED, attempts=0))
                rendered = step.render(scope)
                await self.journal.started(record)
                output = await step.run(rendered, doing)
                done = replace(record, status=Status.SUCCEEDED, attempts=doing.attempts, output=output)
                return await self._ended(done)
            except (StorageUnavailable, NotRun):
                raise
            except IpaasError as error:
                failed = replace(record, status=Status.FAILED, attempts=doing.attempts, error=error_document(error))
                return await self._ended(failed)

    async def _ended(self, step: StepExecution) -> StepExecution:
        step = replace(step, finished_at=self.clock.now())
        await self.journal.ended(step)
        self.meter.step_ended(step)
        annotate({"ipaas.status": step.status, "ipaas.attempts": step.attempts})
        if step.error:
            mark_failed(step.error["code"], step.error["message"])
        return step


@dataclass
class Doing:
    """One step while it runs: what it does things with."""

    steps: Steps
    path: str
    after: Sequence[str]
    attempts: int = field(default=0, init=False)

    async def act(self, step: ActionStep, arguments: Mapping[str, Any]) -> Any:
        action = self.steps.actions[step.uses]
        policy = RetryPolicy(**step.retry.model_dump()) if step.retry else None
        return await self.call(
            action,
            arguments,
            lambda: action.fn(**arguments),
            wrote_host=step.wrote_host,
            policy=policy,
            timeout=step.timeout,
        )

    async def call(
        self,
        action: EngineAction,
        arguments: Mapping[str, Any],
        body: Callable[[], Awaitable[Any]],
        *,
        wrote_host: Callable[[str], bool],
        policy: RetryPolicy | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs `body`, one call of an action, as often as the policy says; its masked result.

        Args:
            wrote_host: see `connectors.kit.call.Call`.

        Raises:
            IpaasError
        """

        async def attempts(logger: Logger) -> Any:
            call = Call(
                services=self.steps.services,
                execution_id=self.steps.execution_id,
                path=self.path,
                logger=logger,
                retry_declared=policy is not None,
                wrote_host=wrote_host,
            )
            try:
                result, self.attempts = await run_attempts(
                    action.action_name, body, call=call, policy=policy, timeout=timeout
                )
            except IpaasError as error:
                self.attempts = error.attempts
                raise
            return result

        self.attempts = 1
        return await self.steps.invoke(Invocation(action, self.path, arguments, self.after), attempts)
