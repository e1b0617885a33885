"""The history of executions: what was accepted, what ran, how it ended.

Importing it loads no database library: `open_store` does, for whoever needs a store on disk.
"""

from __future__ import annotations

from flows.history.documents import Document
from flows.history.interfaces import (
    Admission,
    Archive,
    Callers,
    Catalogue,
    HistoryStore,
    Inbox,
    Running,
    Takeover,
    Waits,
)
from flows.history.memory import MemoryStore
from flows.history.records import (
    Accepted,
    Admitted,
    Delivery,
    Execution,
    Hold,
    Json,
    Key,
    Limits,
    NewExecution,
    NewWait,
    Page,
    Refusal,
    Status,
    StepExecution,
    Trigger,
    Wait,
    WaitKind,
    Workflow,
    WorkflowVersion,
    signal_address,
    step_address,
)
from foundation.clock import Clock

__all__ = [
    "Accepted",
    "Admission",
    "Admitted",
    "Archive",
    "Callers",
    "Catalogue",
    "Delivery",
    "Document",
    "Execution",
    "HistoryStore",
    "Hold",
    "Inbox",
    "Json",
    "Key",
    "Limits",
    "MemoryStore",
    "NewExecution",
    "NewWait",
    "Page",
    "Refusal",
    "Running",
    "Status",
    "StepExecution",
    "Takeover",
    "Trigger",
    "Wait",
    "WaitKind",
    "Waits",
    "Workflow",
    "WorkflowVersion",
    "open_store",
    "signal_address",
    "step_address",
]


def open_store(url: str, clock: Clock | None = None, limits: Limits | None = None) -> HistoryStore:
    """The store behind a database URL (`sqlite:///path`, `postgresql://…`), not yet connected: `await store.open()`.

    Raises:
        ConfigurationError: the URL is of another database.
    """
    from flows.history.sql import SqlStore

    return SqlStore(url, clock, limits)
