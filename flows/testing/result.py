"""What became of one run of a workflow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flows.engine.program import Program
from flows.engine.waiting_for import open_waits, waiting_for
from flows.expressions import unknown
from flows.history import Execution, Status, Trigger
from flows.language.definition import Respond
from flows.language.workflow import Workflow
from flows.testing.requests import Request


class Ended(str):
    """A status that knows its reason, which is said when a test expected another one."""

    __slots__ = ("why",)
    why: str | None

    def __new__(cls, status: str, why: str | None = None) -> Ended:
        ended = super().__new__(cls, status)
        ended.why = why
        return ended

    @property
    def said(self) -> str:
        return f"{self}: {self.why}" if self.why else str(self)


@dataclass(frozen=True)
class StepResult:
    """One step; `path` is where it is: `notify`, in a loop `lines[3].reserve`."""

    path: str
    status: Ended
    output: Any = None
    error: Mapping[str, Any] | None = None
    attempts: int = 0

    def __repr__(self) -> str:
        return f"<{self.path} {_end(self.status, self.output)}>"


class StepResults(Mapping[str, StepResult]):
    """The steps by their paths. One of the workflow's that was not reached is `skipped`, as expressions see it."""

    def __init__(self, ran: Sequence[StepResult], known: Sequence[str]) -> None:
        self._ran, self._known = {step.path: step for step in ran}, known

    def __getitem__(self, path: str) -> StepResult:
        if path in self._ran:
            return self._ran[path]
        if path in self._known:
            return StepResult(path, Ended(Status.SKIPPED))
        raise KeyError(unknown("step", path, sorted({*self._ran, *self._known})))

    def __iter__(self) -> Iterator[str]:
        return iter(self._ran)

    def __len__(self) -> int:
        return len(self._ran)

    def __repr__(self) -> str:
        return repr(list(self._ran.values()))


@dataclass(frozen=True)
class Answer:
    """What the sender of a webhook gets."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """
    Attributes:
        status: how the execution ended; `refused`: there is none, since the body does not fit the workflow's `input`.
        error: `{code, message, step}` of an execution that did not succeed.
        answer: None for a workflow without a webhook.
        steps: those that ran or were skipped, in their order, by path.
        requests: what was sent, in its order.
        seconds: how long it took by the test's clock.
    """

    workflow: str
    status: Ended
    output: Any = None
    error: Mapping[str, Any] | None = None
    answer: Answer | None = None
    steps: StepResults = field(default_factory=lambda: StepResults((), ()))
    requests: Sequence[Request] = ()
    seconds: float = 0.0
    execution_id: str | None = None

    def __repr__(self) -> str:
        said = _end(self.status, self.output)
        return f"<{self.workflow} {said}; steps {self.steps!r}; requests {list(self.requests)!r}>"


def result_of(execution: Execution, program: Program, requests: Sequence[Request]) -> Result:
    workflow = program.declaration
    ids = [step.id for step in workflow.every_step()] if isinstance(workflow, Workflow) else []
    began, ended = execution.started_at, execution.finished_at
    seconds = (ended - began).total_seconds() if began and ended else 0.0
    return Result(
        workflow=execution.workflow,
        status=Ended(execution.status, _message(execution.error) or waiting_for(open_waits(execution.waits))),
        output=execution.output,
        error=execution.error,
        answer=_answer(execution, workflow.respond, seconds) if execution.trigger is Trigger.WEBHOOK else None,
        steps=StepResults(
            [
                StepResult(one.path, Ended(one.status, _message(one.error)), one.output, one.error, one.attempts)
                for one in execution.steps
            ],
            ids,
        ),
        requests=requests,
        seconds=seconds,
        execution_id=execution.id,
    )


def refused(program: Program, faults: Sequence[Mapping[str, str]]) -> Result:
    """The body does not fit the workflow's `input`: nothing runs."""
    message = f"the body does not fit the workflow's input: {faults[0]['path']}: {faults[0]['message']}"
    answer = _problem(422, message, errors=faults)
    error = {"code": "input", "message": message}
    return Result(program.declaration.name, Ended("refused", message), error=error, answer=answer)


def _answer(execution: Execution, respond: Respond, seconds: float) -> Answer:
    """As the gateway answers."""
    if respond.when == "accepted" or seconds > respond.timeout:
        return Answer(202, {"execution_id": execution.id, "status": "accepted"})
    error = (execution.error or {}).get("message") or f"the execution ended as {execution.status}"
    if execution.status is not Status.SUCCEEDED:
        return _problem(504 if execution.status is Status.TIMED_OUT else 500, error, execution_id=execution.id)
    said = execution.answer
    if "problem" in said:
        return _problem(500, said["problem"], execution_id=execution.id)
    headers = {name.lower(): str(value) for name, value in said["headers"].items()}
    try:
        return Answer(int(said["status"]), said["body"], headers)
    except (ValueError, TypeError) as fault:
        return _problem(500, f"respond: {fault}", execution_id=execution.id)


def _problem(status: int, detail: str, **extra: Any) -> Answer:
    return Answer(status, {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **extra})


def _message(error: Mapping[str, Any] | None) -> str | None:
    return error["message"] if error else None


def _end(status: Ended, output: Any) -> str:
    if status.why or output is None:
        return status.said
    return f"{status}: {json.dumps(output, ensure_ascii=False, default=str)}"
