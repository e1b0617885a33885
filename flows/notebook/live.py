"""A picture that follows an execution while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from flows.notebook.shown import Shown

_SECONDS: Final = 0.2
"""Between one picture and the next, at least: a loop of many items is not drawn for each."""


class Live:
    """Shows in place what it is told, as far as this is a notebook that can.

    Attributes:
        is_kept: whether what was shown last stays below the cell, so that it need not be shown again.
    """

    def __init__(self) -> None:
        self._update, self.is_kept = _place()
        self._shown_at = 0.0

    def show(self, what: Callable[[], Shown], *, last: bool = False) -> None:
        """Shows what this gives, unless something was shown a moment ago."""
        if self._update is not None and (last or time.monotonic() - self._shown_at >= _SECONDS):
            self._update(what())
            self._shown_at = time.monotonic()


def _place() -> tuple[Callable[[Shown], None] | None, bool]:
    """What replaces the picture below the running cell; None: there is no such place."""
    ipython, marimo = sys.modules.get("IPython"), sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        return marimo.output.replace, False  # the cell's value takes its place
    if ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None:
        return _InJupyter(import_module("IPython.display").display), True
    return None, False


class _InJupyter:
    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._handle: Any = None

    def __call__(self, what: Shown) -> None:
        if self._handle is None:
            self._handle = self._display(what, display_id=True)
        else:
            self._handle.update(what)
