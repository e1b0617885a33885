"""By what a call of an author's function is known again when the function starts again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from flows.history import Status, StepExecution


def call_of(recorded: StepExecution, execution_id: str) -> Mapping[str, Any]:
    """What is recorded of a call. What a replay took over was perhaps called by another version: nothing."""
    call: Mapping[str, Any] = (recorded.decision or {}).get("call") or {}
    return call if call.get("in") == execution_id else {}


def earlier_calls(steps: Mapping[str, StepExecution], execution_id: str) -> Iterator[tuple[tuple[str, int | str], str]]:
    """The path of each recorded call, by the round that it was made in and its number there.

    Those that were made side by side have no number; of them those that have ended, by their path.
    """
    for path, recorded in steps.items():
        call = call_of(recorded, execution_id)
        ended = recorded.status in (Status.SUCCEEDED, Status.FAILED)
        if known := call.get("number") or (path if call and ended else None):
            yield (path[: path.rfind("].") + 2] if "]." in path else "", known), path


def digest(arguments: Any) -> str:
    """The same for the same arguments, in whichever process."""
    try:
        written = json.dumps(arguments, sort_keys=True, default=_stable)
    except (TypeError, ValueError):
        written = repr(arguments)
    return hashlib.sha256(written.encode("utf-8", "backslashreplace")).hexdigest()


def _stable(value: Any) -> Any:
    """What is no JSON, so that it is written the same whenever it is the same; an object's address is not."""
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    written = repr(value)
    return type(value).__qualname__ if " at 0x" in written else written
