"""A picture that follows an execution while it runs."""

from __future__ import annotations

import asyncio
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
        self._what: Callable[[], Shown] | None = None
        self._later: asyncio.TimerHandle | None = None

    def show(self, what: Callable[[], Shown], *, last: bool = False) -> None:
        """Shows what this gives: at once, or, when something was shown a moment ago, in a moment."""
        if self._update is None:
            return
        self._what, left = what, self._shown_at + _SECONDS - time.monotonic()
        if last or left <= 0:
            self._now()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(left, self._now)

    def _now(self) -> None:
        if self._later is not None:
            self._later.cancel()
        if self._update is not None and self._what is not None:
            self._update(self._what())
        self._later, self._shown_at = None, time.monotonic()


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
