"""What executions tell whoever counts them: the worker's metrics, or nobody."""

from __future__ import annotations

from typing import Protocol

from flows.history import Execution, Status, StepExecution


class Meter(Protocol):
    def execution_ended(self, execution: Execution, status: Status, seconds: float) -> None:
        """`seconds`: from its beginning in this process to its end."""
        ...

    def step_ended(self, step: StepExecution) -> None: ...


class Unmetered:
    """Counts nothing: a single run, a test."""

    def execution_ended(self, execution: Execution, status: Status, seconds: float) -> None: ...

    def step_ended(self, step: StepExecution) -> None: ...
