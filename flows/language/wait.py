"""`wait`: some time."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator

from flows.language.definition import Duration, Json
from flows.language.step import Doing, Step

LONGEST_WAIT: Final = 30.0
"""Seconds that an execution may wait while it runs."""
_LATER: Final = ("until", "signal", "callback")


def _of_this_version(value: Any) -> Any:
    if isinstance(value, dict):
        form = next((form for form in _LATER if form in value), None)
        if form is None:
            raise ValueError("expected a duration like 20s")
        raise ValueError(f"{form}: this version does not know it yet; it waits for a duration, like wait: 20s")
    return value


def short(seconds: float) -> float:
    if seconds > LONGEST_WAIT:
        raise ValueError(
            f"this version does not know waits of more than {LONGEST_WAIT:g}s yet, and this is {seconds:g}s"
        )
    return seconds


class Wait(Step):
    """
    Attributes:
        wait: seconds. They end at the same instant, however often the execution begins again meanwhile.
    """

    kind: ClassVar[str] = "wait"

    wait: Annotated[Duration, BeforeValidator(_of_this_version), AfterValidator(short)]

    async def run(self, rendered: Any, doing: Doing) -> Json:
        left = self.wait - doing.elapsed
        if left > 0:
            await doing.sleep(left)
        return None
