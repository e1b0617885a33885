"""What an author's own code raises and returns, and where in the file it is."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.errors import ActionError, IpaasError


def own_failure(error: Exception, file: str) -> IpaasError:
    """What an author's own code raised, as the failure of a step: one line that says where in the file it was."""
    if isinstance(error, IpaasError):
        return error
    line = line_in(error, file)
    place = f" ({Path(file).name}:{line})" if line else ""
    return ActionError(f"{type(error).__name__}: {' '.join(str(error).split())}{place}")


def as_json(value: Any, what: str) -> Any:
    """A copy of a value as the history gives it back, tuples as lists; what a dry run has in place of results stays.

    Raises:
        ActionError: it is no JSON; the message begins with `what`.
    """
    match value:
        case None | str() | bool() | int():
            return value
        case float() if math.isfinite(value):
            return value
        case list() | tuple():
            return [as_json(item, what) for item in value]
        case Mapping() if all(isinstance(key, str) for key in value):
            return {key: as_json(item, what) for key, item in value.items()}
    kind = "a mapping whose keys are no strings" if isinstance(value, Mapping) else f"a {type(value).__name__}"
    raise ActionError(f"{what} is recorded, and has to be JSON; it holds {kind}")


def line_in(error: BaseException, file: str) -> int | None:
    """The innermost line of the file that an exception came through."""
    line, traceback = None, error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def author_line(file: str) -> int | None:
    """The line of the file that is being executed."""
    frame = sys._getframe()
    while frame and frame.f_code.co_filename != file:
        frame = frame.f_back  # type: ignore[assignment]
    return frame.f_lineno if frame else None
