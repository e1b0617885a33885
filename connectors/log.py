"""`log`: lines in the execution's log."""

from __future__ import annotations

import logging
from typing import Literal, TypedDict

from connectors.kit.action import action
from connectors.kit.call import current_call


class LoggedMessage(TypedDict):
    text: str


@action("log.message")
async def message(*, text: str, level: Literal["debug", "info", "warning", "error"] = "info") -> LoggedMessage:
    """Writes a line to the execution's log: https://docs.python.org/3/library/logging.html

    Args:
        text: the line.
        level: debug, info, warning or error.

    Returns:
        The text.
    """
    call = current_call.get()
    line = call.services.masker.mask(text).encode(errors="backslashreplace").decode()  # else Prefect drops all lines
    call.logger.log(logging.getLevelNamesMapping()[level.upper()], "%s", line)
    return {"text": text}
