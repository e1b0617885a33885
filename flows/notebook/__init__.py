"""Workflows in a notebook: written in a cell, checked, drawn, run with the picture following, and deployed.

    %load_ext flows.notebook

makes the cell magics `%%workflow` (YAML) and `%%workflow-python`. Without them, as in marimo, `from_yaml` and
`from_flow` give the same objects.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.notebook.workflow import NotebookWorkflow, from_flow, from_yaml

__all__ = ["NotebookWorkflow", "from_flow", "from_yaml", "load_ipython_extension"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("flows.notebook.workflow"), name)


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext flows.notebook` calls."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect reads it when it is imported
    from flows.notebook.magics import add_to

    add_to(shell)
