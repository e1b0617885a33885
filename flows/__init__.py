"""The workflow language: write workflows in YAML, or in Python with what is here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.engine.each import each
    from flows.engine.own_steps import step
    from flows.engine.waits import approval, call, callback, send_signal, signal, sleep
    from flows.engine.words import Failed, address, cleanup, failure, gather, render, text
    from flows.language.event import Event
    from flows.on_prefect.python_source import schedule, webhook, workflow

__all__ = [
    "Event",
    "Failed",
    "address",
    "approval",
    "call",
    "callback",
    "cleanup",
    "each",
    "failure",
    "gather",
    "render",
    "schedule",
    "send_signal",
    "signal",
    "sleep",
    "step",
    "text",
    "webhook",
    "workflow",
]

# Read by `__getattr__`, so that a file can be checked, or an engine tested, without loading Prefect.
_MODULES = {
    "Event": "flows.language.event",
    "Failed": "flows.engine.words",
    "address": "flows.engine.words",
    "approval": "flows.engine.waits",
    "call": "flows.engine.waits",
    "callback": "flows.engine.waits",
    "cleanup": "flows.engine.words",
    "each": "flows.engine.each",
    "failure": "flows.engine.words",
    "gather": "flows.engine.words",
    "render": "flows.engine.words",
    "schedule": "flows.on_prefect.python_source",
    "send_signal": "flows.engine.waits",
    "signal": "flows.engine.waits",
    "sleep": "flows.engine.waits",
    "step": "flows.engine.own_steps",
    "text": "flows.engine.words",
    "webhook": "flows.on_prefect.python_source",
    "workflow": "flows.on_prefect.python_source",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
