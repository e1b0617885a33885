"""Which workflows run in a mode: those that say so, and those that say nothing where it is the platform's."""

from __future__ import annotations

from collections.abc import Collection

from flows.history import Mode


def said_for(mode: Mode, default: Mode) -> Collection[Mode | None]:
    """What workflows say whose executions run in this mode; None stands for nothing."""
    return (mode, None) if mode is default else (mode,)
