"""The history of executions: what was accepted, what ran, how it ended."""

from __future__ import annotations

from flows.history.memory import MemoryStore
from flows.history.records import (
    Accepted,
    Execution,
    HistoryStore,
    Limits,
    NewExecution,
    Page,
    Status,
    StepExecution,
    Trigger,
    Workflow,
    WorkflowVersion,
)
from flows.history.sql import SqlStore
from foundation.clock import Clock

__all__ = [
    "Accepted",
    "Execution",
    "HistoryStore",
    "Limits",
    "MemoryStore",
    "NewExecution",
    "Page",
    "SqlStore",
    "Status",
    "StepExecution",
    "Trigger",
    "Workflow",
    "WorkflowVersion",
    "open_store",
]


def open_store(url: str, clock: Clock | None = None, limits: Limits | None = None) -> HistoryStore:
    """The store behind a database URL (`sqlite:///path`, `postgresql://…`), not yet connected: `await store.open()`.

    Raises:
        ConfigurationError: the URL is of another database.
    """
    return SqlStore(url, clock, limits)
