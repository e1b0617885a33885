"""How executions and steps fail here, and errors as the history and expressions have them.

IpaasError
├── NonDeterministic the author's function did something else than in an earlier run of the execution
└── NotRun           the execution does not run here, or not any more; nothing was recorded
    ├── HeldElsewhere    another process runs it
    ├── LimitReached     its workflow's limit is reached: it waits for its turn
    ├── StillWaits       what its steps wait for has not come yet
    └── HandedBack       this process stops; another one goes on with it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.language.outcomes import StepFailed
from foundation.errors import (
    ActionError,
    CircuitOpen,
    ConnectionFailed,
    CredentialError,
    IpaasError,
    RemoteError,
    StepTimeout,
    TooLarge,
)


class NotRun(IpaasError):
    code = "not_run"


class NonDeterministic(IpaasError):
    """An author's function, started again, did not do what it had done. `fault` says which call differed."""

    code = "nondeterministic"

    def __init__(self, fault: str) -> None:
        super().__init__(
            f"{fault}: what is not the same each time (a clock, chance, a file) belongs into a step of its "
            "own, `await step(function)`, whose result is recorded"
        )


class HeldElsewhere(NotRun):
    def __init__(self) -> None:
        super().__init__("another process runs it now")


class LimitReached(NotRun):
    def __init__(self) -> None:
        super().__init__("its workflow's limit is reached; it runs in its turn")


class StillWaits(NotRun):
    def __init__(self) -> None:
        super().__init__("what it waits for has not come yet")


class HandedBack(NotRun):
    def __init__(self) -> None:
        super().__init__("this process stops; another one goes on with it")


def error_document(error: BaseException) -> dict[str, Any]:
    """An error as the history and expressions have it: code, message, and the other system's status if it answered.

    Of a block that a step's failure ended, it is the step's own, with its path as `step`.
    """
    if isinstance(error, StepFailed):
        return error.document
    if isinstance(error, RemoteError):
        return {"code": error.code, "message": str(error), "status": error.status}
    if isinstance(error, IpaasError):
        return {"code": error.code, "message": str(error)}
    return {"code": "error", "message": f"{type(error).__name__}: {error}"}


_KINDS: Mapping[str, type[IpaasError]] = {
    kind.code: kind for kind in (ConnectionFailed, StepTimeout, CircuitOpen, CredentialError, TooLarge)
}


def earlier_failure(document: Mapping[str, Any]) -> IpaasError:
    """The recorded error of a step that had failed before this run of the execution began, as it was raised then."""
    code, message = document["code"], document["message"]
    if code == RemoteError.code:
        return RemoteError(message, status=document.get("status", 0))
    error = _KINDS.get(code, ActionError)(message)
    error.code = code  # type: ignore[misc]  # the recorded error's own code
    return error


def cancellation(by: str, reason: str) -> dict[str, str]:
    """The error of a cancelled execution: who cancelled it, and why."""
    return {
        "code": "cancelled",
        "message": f"cancelled through {by}: {reason}" if reason else f"cancelled through {by}",
    }
