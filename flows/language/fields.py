"""What the models of the language are made of."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from foundation.duration import WRITTEN, Seconds

_SECONDS: Final[TypeAdapter[float]] = TypeAdapter(Seconds)
LONGEST_SECONDS: Final = 366 * 86_400
"""What is longer is a mistake, and no timer takes every number."""


def _duration(value: Any) -> float:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    try:
        seconds = _SECONDS.validate_python(None if isinstance(value, bool) else value)
    except ValidationError:
        raise ValueError(f"expected a duration like 30s or 5m, got {value!r}") from None
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"a duration is at most 366d, got {value!r}")
    return seconds


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0")
    return seconds


Duration = Annotated[float, BeforeValidator(_duration), WithJsonSchema(WRITTEN | {"minimum": 0})]
"""Seconds."""
Timeout = Annotated[Duration, AfterValidator(_positive), WithJsonSchema(WRITTEN | {"exclusiveMinimum": 0})]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
