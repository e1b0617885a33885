"""Workflows in tests: run in memory, in a millisecond, without a server, the network or waiting.

`bench` runs a workflow once and gives what became of it; the fixture `ipaas` (`plugin`) is one. `cases` reads the cases
that stand in YAML beside a workflow, `playing` runs them, `recording` makes one of what really happened.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.testing.bench import Bench
    from flows.testing.requests import NotStubbed, Request
    from flows.testing.result import Answer, Result, StepResult

__all__ = ["Answer", "Bench", "NotStubbed", "Request", "Result", "StepResult"]

# Read by `__getattr__`: pytest loads the plugin in every run, also where no workflow is tested.
_MODULES = {
    "Answer": "flows.testing.result",
    "Bench": "flows.testing.bench",
    "NotStubbed": "flows.testing.requests",
    "Request": "flows.testing.requests",
    "Result": "flows.testing.result",
    "StepResult": "flows.testing.result",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
