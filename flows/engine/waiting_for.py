"""What an execution waits for, in words."""

from __future__ import annotations

from collections.abc import Sequence

from flows.history import NewWait, Wait, WaitKind

_MOST = 3


def waiting_for(waits: Sequence[Wait | NewWait]) -> str | None:
    """None when it waits for nothing."""
    if not waits:
        return None
    said = [_said(wait) for wait in waits[:_MOST]]
    return "; ".join([*said, *([f"{len(waits) - _MOST} more"] if len(waits) > _MOST else [])])


def open_waits(waits: Sequence[Wait]) -> list[Wait]:
    return [wait for wait in waits if wait.ended_at is None]


def _said(wait: Wait | NewWait) -> str:
    until = f"{wait.due_at:%Y-%m-%d %H:%M:%S} UTC" if wait.due_at else None
    if wait.kind is WaitKind.TIME:
        return f"{wait.path}: until {until}"
    what = ""
    if wait.kind is WaitKind.SIGNAL and wait.address:
        what = wait.address.removeprefix("signal:")
    elif wait.kind is WaitKind.CALL:
        what = f"of {wait.document['workflow']}, execution {wait.document['execution_id']}"
    named = f"{wait.kind} {what}" if what else str(wait.kind)
    return f"{wait.path}: {named}{f', until {until}' if until else ''}"
