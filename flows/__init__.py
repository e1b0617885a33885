"""The workflow language: write workflows in YAML, or in Python with what is here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.language.event import Event
    from flows.on_prefect.python_source import failure, poll, schedule, webhook, workflow

__all__ = ["Event", "failure", "poll", "schedule", "webhook", "workflow"]

# Read by `__getattr__`, so that a file can be checked, or an engine tested, without loading Prefect.
_MODULES = {
    "Event": "flows.language.event",
    "failure": "flows.on_prefect.python_source",
    "poll": "flows.on_prefect.python_source",
    "schedule": "flows.on_prefect.python_source",
    "webhook": "flows.on_prefect.python_source",
    "workflow": "flows.on_prefect.python_source",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
