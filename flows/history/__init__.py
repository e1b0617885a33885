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
    Notices,
    Polls,
    Running,
    Takeover,
    Waits,
)
from flows.history.memory import MemoryStore
from flows.history.notices import Topic
from flows.history.polled import PollHold, PollState
from flows.history.records import (
    Accepted,
    Admitted,
    Delivery,
    Execution,
    Hold,
    Json,
    Key,
    Limits,
    Mode,
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
    "Mode",
    "NewExecution",
    "NewWait",
    "Notices",
    "Page",
    "PollHold",
    "PollState",
    "Polls",
    "Refusal",
    "Running",
    "Status",
    "StepExecution",
    "Takeover",
    "Topic",
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


def open_store(
    url: str, clock: Clock | None = None, limits: Limits | None = None, *, ui_url: str | None = None
) -> HistoryStore:
    """The store behind a database URL (`sqlite:///path`, `postgresql://…`), not yet connected: `await store.open()`.

    Args:
        ui_url: Prefect's UI, for links.

    Raises:
        ConfigurationError: the URL is of another database.
    """
    from flows.history.sql import SqlStore

    return SqlStore(url, clock, limits, ui_url=ui_url)
