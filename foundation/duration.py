"""Durations as people write them: `500ms`, `30s`, `5m`, `2h`, `1d`, or a number of seconds."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, TypeAdapter, WithJsonSchema

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS_OF = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: object) -> object:
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _SECONDS_OF[match[2]]
    return value


WRITTEN = {
    "type": ["number", "string"],
    "pattern": rf"^\s*({_DURATION.pattern}|[0-9]+(\.[0-9]+)?)\s*$",
    "examples": ["30s", "5m"],
    "description": "`500ms`, `30s`, `5m`, `2h`, `1d`, or a number of seconds.",
}
"""The JSON Schema of a duration as people write it."""
Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema(WRITTEN | {"exclusiveMinimum": 0}),
]
"""For pydantic: takes a written duration, gives seconds."""

_SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)


def in_seconds(duration: str | float) -> float:
    """Raises ValueError for what is no duration, or not longer than 0."""
    return _SECONDS.validate_python(duration)
