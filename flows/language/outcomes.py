"""How a block ends when it does not come to its last step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from foundation.errors import IpaasError

Json = Any


class StepFailed(IpaasError):
    """A step failed, and is not one that may. `str()` names the innermost step, once.

    Attributes:
        document: the step's own error: code, message, the other system's status if it answered, and `step`.
    """

    def __init__(self, path: str, error: Mapping[str, Any]) -> None:
        self.document = {**error, "step": error.get("step") or path}
        self.path = self.document["step"]
        self.code = error["code"]  # type: ignore[misc]  # the step's own
        super().__init__(f"step {self.path}: {error['message']}")


class Stopped(Exception):
    """A step ended the whole execution; `output` is the execution's."""

    def __init__(self, output: Json) -> None:
        super().__init__()
        self.output = output


def as_seen(error: Mapping[str, Any]) -> dict[str, Any]:
    """An error document as expressions see it: every key is there."""
    return {key: error.get(key) for key in ("message", "code", "step", "status")}


def raise_first(errors: BaseExceptionGroup[BaseException]) -> NoReturn:
    """What a group of tasks ended with, as one exception.

    What says that the execution can't go on here wins over the end of one step: nobody may catch the step's failure
    and go on.
    """
    found = list(errors.exceptions)
    raise next((one for one in found if not isinstance(one, (StepFailed, Stopped))), found[0]) from None
