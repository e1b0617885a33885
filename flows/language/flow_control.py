"""Flow control as a workflow says it: how many at once, how often, which of many events, and who goes first.

Every `key`, and `priority`, is an expression over `event`, evaluated when the event is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializationInfo,
    StrictInt,
    model_validator,
)

from flows.language.fields import Model, Timeout

DEFAULT_LIMIT: Final = 10
MOST_AHEAD: Final = 600
"""Seconds by which `priority` puts an execution ahead, or behind."""
LARGEST_BATCH: Final = 1_000


def _key(value: Any) -> Any:
    """A bare expression. Written as `{{ … }}` it would be read as a mapping of a mapping, or as a text."""
    if isinstance(value, str) and value.strip().startswith("{{"):
        raise ValueError(f"expected a bare expression like event.body.customer, without braces; got {value!r}")
    return value


Key = Annotated[Annotated[str, Field(min_length=1, max_length=1_000)] | None, BeforeValidator(_key)]
"""What executions are told apart by; None: all are alike."""


class Concurrency(Model):
    """How many executions run at once, and what becomes of the next one.

    It waits; or it is cancelled (`cancel`); or those that run are, and it takes their place (`replace`); or it waits
    in place of those that waited (`latest`).
    """

    limit: StrictInt = Field(default=DEFAULT_LIMIT, ge=1, le=10_000)
    key: Key = None
    overflow: Literal["wait", "cancel", "replace", "latest"] = "wait"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"limit": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Throttle(Model):
    """At most `limit` starts `per` duration, at regular intervals; `burst` of them at once after a pause."""

    limit: StrictInt = Field(ge=1, le=1_000_000)
    per: Timeout
    burst: StrictInt = Field(default=1, ge=1, le=1_000_000)
    key: Key = None


class Debounce(Model):
    """One execution, with the last event, when no further one came for `quiet`; after `at_most` in any case."""

    quiet: Timeout
    at_most: Timeout | None = None
    key: Key = None

    @model_validator(mode="after")
    def _at_most_is_longer(self) -> Debounce:
        if self.at_most is not None and self.quiet > self.at_most:
            raise ValueError(f"quiet ({self.quiet:g} s) must not be longer than at_most ({self.at_most:g} s)")
        return self


class Batch(Model):
    """One execution for up to `size` events, or for those that came `within` a duration after the first."""

    size: StrictInt = Field(ge=1, le=LARGEST_BATCH)
    within: Timeout
    key: Key = None


def _as_list(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


def _of_one_key_each(limits: Sequence[Concurrency]) -> Sequence[Concurrency]:
    keys = [one.key for one in limits]
    twice = next((key for key in keys if keys.count(key) > 1), "")
    if twice != "":
        which = "without a key: it is the whole workflow's" if twice is None else f"for the key {twice}"
        raise ValueError(f"there are two limits {which}")
    return limits


def _as_written(limits: Sequence[Concurrency], info: SerializationInfo) -> Any:
    data = [one.model_dump(exclude_none=True, exclude_defaults=info.exclude_defaults) for one in limits]
    return data[0] if len(data) == 1 else data


def _priority(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("expected seconds, as a number or an expression like 10 if event.body.vip else 0")
    if isinstance(value, str):
        return _key(value)
    if not -MOST_AHEAD <= value <= MOST_AHEAD:
        raise ValueError(f"expected seconds from -{MOST_AHEAD} to {MOST_AHEAD}, got {value}")
    return float(value)


Priority = Annotated[str | float, BeforeValidator(_priority)]


def shown_key(key: str | None) -> str:
    """What people call it: `customer` for `event.body.customer`, else the expression."""
    name = (key or "").rpartition(".")[2]
    return name if name.isidentifier() and (key or "").replace(".", "").isidentifier() else key or ""


Limits = Annotated[
    tuple[Concurrency, ...],
    Field(min_length=1),
    BeforeValidator(_as_list),
    AfterValidator(_of_one_key_each),
    PlainSerializer(_as_written),
]
"""One a key. Written as a number, a mapping, or a list of mappings."""
