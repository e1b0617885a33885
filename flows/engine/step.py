"""How a step runs: known results are not made twice, every attempt is timed and retried, every outcome is recorded.

One runner serves YAML and Python. A YAML step brings its plan (id, retry, timeout); an action that Python code calls
has the action's name as its id, numbered from the second call on, so a run that starts again after a crash finds the
results of the steps that had finished. Calls that Python makes side by side (`asyncio.gather`) come in any order: their
ids are made of what they are called with.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from connectors.kit.action import Action
from connectors.kit.attempts import run_attempts
from connectors.kit.call import Call
from connectors.kit.retry import RetryPolicy
from flows.engine.runtime import Runtime
from flows.history import Execution, Status, StepExecution
from foundation.errors import (
    ActionError,
    CircuitOpen,
    ConnectionFailed,
    CredentialError,
    IpaasError,
    RemoteError,
    StepTimeout,
    TooLarge,
)
from foundation.log_fields import log_fields
from foundation.tracing import Span, annotate, mark_failed, span


@dataclass(frozen=True)
class StepPlan:
    """What the workflow says of a step beyond its arguments. `timeout` is in seconds, per attempt."""

    step_id: str
    retry: RetryPolicy | None = None
    timeout: float | None = None


current_plan: ContextVar[StepPlan | None] = ContextVar("current_plan", default=None)


def error_document(error: BaseException) -> dict[str, Any]:
    """An error as the history and expressions have it: code, message, and the other system's status if it answered."""
    if isinstance(error, RemoteError):
        return {"code": error.code, "message": str(error), "status": error.status}
    if isinstance(error, IpaasError):
        return {"code": error.code, "message": str(error)}
    return {"code": "error", "message": f"{type(error).__name__}: {error}"}


_KINDS: Mapping[str, type[IpaasError]] = {
    kind.code: kind for kind in (ConnectionFailed, StepTimeout, CircuitOpen, CredentialError, TooLarge)
}


def earlier_failure(document: Mapping[str, Any]) -> IpaasError:
    """The recorded error of a step that had failed before this run of the execution began, as it was raised then."""
    code, message = document["code"], document["message"]
    if code == RemoteError.code:
        return RemoteError(message, status=document.get("status", 0))
    error = _KINDS.get(code, ActionError)(message)
    error.code = code  # type: ignore[misc]  # the recorded error's own code
    return error


class RecordedSteps:
    """The `StepRunner` of one execution."""

    author: asyncio.Task[Any] | None = None
    """The task of an author's function, whose own calls come in the same order in every run; None in YAML."""

    def __init__(self, runtime: Runtime, execution: Execution) -> None:
        self._runtime, self._execution = runtime, execution
        self._calls: Counter[str] = Counter()
        self.known = {step.step_id: step for step in execution.steps if step.status.is_final}

    async def run(self, action: Action[Any, Any], arguments: dict[str, Any], body: Callable[[], Awaitable[Any]]) -> Any:
        plan = current_plan.get() or StepPlan(self._next_id(action.action_name, arguments))
        if known := self.known.get(plan.step_id):
            return _result_of(known)
        with _step_span(plan.step_id, action.action_name):
            return await self._run(plan, action, body)

    async def _run(self, plan: StepPlan, action: Action[Any, Any], body: Callable[[], Awaitable[Any]]) -> Any:
        call = Call(
            services=self._runtime.services,
            execution_id=self._execution.id,
            step_id=plan.step_id,
            logger=_step_logger(),
            retry_declared=plan.retry is not None,
        )
        step = StepExecution(plan.step_id, action.action_name, Status.RUNNING, started_at=self._now())
        await self._save(step)
        try:
            with log_fields(step=plan.step_id):
                result, attempts = await run_attempts(action, body, call=call, policy=plan.retry, timeout=plan.timeout)
        except IpaasError as error:
            failed = replace(step, status=Status.FAILED, attempts=error.attempts, error=error_document(error))
            await self._save(replace(failed, finished_at=self._now()))
            raise
        done = replace(step, status=Status.SUCCEEDED, attempts=attempts, output=result, finished_at=self._now())
        try:
            await self._save(done)
        except TooLarge as error:
            too_large = replace(done, status=Status.FAILED, output=None, error=error_document(error))
            await self._save(too_large)
            raise
        return result

    async def skip(self, step_id: str, action: str) -> None:
        """Records that a step's condition was false."""
        now = self._now()
        with _step_span(step_id, action):
            await self._save(
                StepExecution(step_id, action, Status.SKIPPED, attempts=0, started_at=now, finished_at=now)
            )

    async def fail(self, step_id: str, action: str, error: IpaasError) -> None:
        """Records a step that failed before its action was called: its arguments could not be rendered."""
        now = self._now()
        step = StepExecution(step_id, action, Status.FAILED, attempts=0, started_at=now, finished_at=now)
        with _step_span(step_id, action):
            await self._save(replace(step, error=error_document(error)))

    def _next_id(self, name: str, arguments: Mapping[str, Any]) -> str:
        if self.author and self.author is not asyncio.current_task():
            name = f"{name}-{hashlib.sha256(repr(arguments).encode()).hexdigest()[:8]}"
        self._calls[name] += 1
        return name if self._calls[name] == 1 else f"{name}-{self._calls[name]}"

    async def _save(self, step: StepExecution) -> None:
        await self._runtime.insist(lambda: self._runtime.store.save_step(self._execution.id, step))
        if step.status.is_final:
            self.known[step.step_id] = step
            self._runtime.meter.step_ended(step)
            annotate({"ipaas.status": step.status, "ipaas.attempts": step.attempts})
            if step.error:
                mark_failed(step.error["code"], step.error["message"])

    def _now(self) -> Any:
        return self._runtime.clock.now()


def _step_span(step_id: str, action: str) -> AbstractContextManager[Span]:
    return span("step", {"ipaas.step": step_id, "ipaas.action": action})


def _result_of(step: StepExecution) -> Any:
    if step.status is Status.FAILED:
        raise earlier_failure(step.error)
    return step.output


def _step_logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("ipaas.step")
