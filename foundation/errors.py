"""Every error this project raises on purpose.

IpaasError
├── ConfigurationError        a setting, file or environment is wrong; the operator must act
├── DefinitionError           a workflow file is wrong; the author must act (has file, line and column)
├── ExpressionError           an expression failed or is not allowed; the author must act
├── CredentialError           a credential is missing, of the wrong type, or can't be opened
├── ActionError               a step's action failed
│   ├── RemoteError           the other system answered with an error (has the HTTP status)
│   ├── ConnectionFailed      the other system could not be reached, or the connection broke
│   ├── EgressRefused         the address comes from data and is not public; nothing was sent
│   ├── StepTimeout           the step took longer than its timeout
│   └── CircuitOpen           the other system failed too often in a row; nothing was sent
├── VerificationFailed        an inbound delivery is unsigned, forged, stale or malformed
├── StorageUnavailable        the history's database does not answer
├── TooLarge                  an output is larger than what is kept
└── NotFound                  the named thing does not exist

`code` is stable and machine-readable, `retriable` says whether trying again can help, and the message is for the person
who must act. Messages never hold a secret: see `foundation.masking`.
"""

from __future__ import annotations

from typing import ClassVar


class IpaasError(Exception):
    """The root. `str(error)` is one line for the person who must act."""

    code: ClassVar[str] = "error"
    retriable: bool = False
    attempts: int = 1
    """How often the step was tried before it ended with this error."""
    path: str | None = None
    """The step that it ended, if it ended one."""


class ConfigurationError(IpaasError):
    code = "configuration"


class DefinitionError(IpaasError):
    """A workflow that can't be compiled. `str()` is `file:line:column: message`.

    Args:
        message: what is wrong and what would be right.
        file: the workflow's file, as the author named it.
        line, column: counted from 1; None when the fault has no place.
    """

    code = "definition"

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        self.message, self.file, self.line, self.column = message, file, line, column
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)


class ExpressionError(IpaasError):
    code = "expression"


class CredentialError(IpaasError):
    """A credential can't be used. `retriable` when only its store did not answer."""

    code = "credential"

    def __init__(self, message: str, *, retriable: bool = False) -> None:
        super().__init__(message)
        self.retriable = retriable


class ActionError(IpaasError):
    """A step's action failed.

    Args:
        message: includes the other system's own message when there is one.
        retriable: whether the same call may succeed later.
        retry_after: seconds the other system asked us to wait.
    """

    code = "action"

    def __init__(self, message: str, *, retriable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retriable, self.retry_after = retriable, retry_after


class RemoteError(ActionError):
    """The other system answered, with an error. `status` is the HTTP status."""

    code = "remote"

    def __init__(self, message: str, *, status: int, retriable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message, retriable=retriable, retry_after=retry_after)
        self.status = status


class ConnectionFailed(ActionError):
    code = "connection"


class EgressRefused(ActionError):
    """A request that would have gone where only the workflow's author or the operator may send one.

    `kind` is what kind of address it is: loopback, private, metadata, …
    """

    code = "egress"

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"nothing was sent: the host comes from data or a redirect, and its address is not public ({kind}); "
            "IPAAS_EGRESS_ALLOW can allow it"
        )
        self.kind = kind


class StepTimeout(ActionError):
    code = "timeout"


class CircuitOpen(ActionError):
    code = "circuit_open"


class VerificationFailed(IpaasError):
    """An inbound delivery that must not be let in.

    `reason` is a stable word for counters: missing, mismatch, stale, malformed.
    """

    code = "verification"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StorageUnavailable(IpaasError):
    code = "storage"
    retriable = True


class TooLarge(IpaasError):
    code = "too_large"


class NotFound(IpaasError):
    code = "not_found"
