"""The rules of a workflow's flow control, as its current version declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flows.history.records import Json, Key

DEFAULT_LIMIT, DEFAULT_OVERFLOW = 10, "wait"
_SINGLE: Final = ("throttle", "debounce", "batch")


def declared_mode(declaration: Json) -> str | None:
    """None: it does not say."""
    return (declaration or {}).get("mode")


@dataclass(frozen=True)
class AtOnce:
    """`concurrency`"""

    limit: int
    overflow: str = DEFAULT_OVERFLOW


@dataclass(frozen=True)
class Throttle:
    """`throttle`: a start every `interval`, and `burst` of them at once after a pause."""

    of: str
    interval: timedelta
    burst: int

    def free_at(self, paid: datetime) -> datetime:
        """When the next one may start.

        Args:
            paid: when all starts so far would have been, had they come at regular intervals, and one more.
        """
        return paid - (self.burst - 1) * self.interval

    def after(self, paid: datetime | None, now: datetime) -> datetime:
        """`paid` after one more start."""
        return max(paid or now, now) + self.interval

    def starts(self, paid: datetime | None, now: datetime) -> int:
        """How many may start now."""
        if paid is None or paid <= now:
            return self.burst
        return max((now - self.free_at(paid)) // self.interval + 1, 0)


@dataclass(frozen=True)
class Debounce:
    of: str
    quiet: timedelta
    at_most: timedelta | None

    def due(self, since: datetime, now: datetime) -> datetime:
        """When the last event runs, if no further one comes."""
        return now + self.quiet if self.at_most is None else min(now + self.quiet, since + self.at_most)


@dataclass(frozen=True)
class Batch:
    of: str
    size: int
    within: timedelta


@dataclass(frozen=True)
class Rules:
    """What holds for the executions of one workflow beyond the number of all that are admitted.

    Attributes:
        limits: by what their keys are of; "" is the whole workflow, where that does more than wait.
    """

    limits: Mapping[str, AtOnce]
    throttle: Throttle | None = None
    debounce: Debounce | None = None
    batch: Batch | None = None

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Rule and expression of every key that an execution needs."""
        single = {"throttle": self.throttle, "debounce": self.debounce, "batch": self.batch}
        return [("concurrency", of) for of in self.limits] + [(name, one.of) for name, one in single.items() if one]

    def limit_of(self, key: Key) -> AtOnce | None:
        return self.limits.get(key.of) if key.rule == "concurrency" else None

    def throttles(self, key: Key) -> bool:
        return key.rule == "throttle" and self.throttle is not None and self.throttle.of == key.of

    def gathering(self, keys: Sequence[Key]) -> Key | None:
        """The key by which it is gathered with others before anything else."""
        rules = {"debounce": self.debounce, "batch": self.batch}
        return next((key for key in keys if (rule := rules.get(key.rule)) and rule.of == key.of), None)


def declared_limit(declaration: Json) -> tuple[int, str]:
    """The limit and the overflow of the whole workflow that a version's declaration asks for."""
    own = next((one for one in _concurrency(declaration) if one.get("key") is None), {})
    return own.get("limit", DEFAULT_LIMIT), own.get("overflow", DEFAULT_OVERFLOW)


def declared_rules(declaration: Json) -> Json:
    """The document of its further rules; None: it has none."""
    if not isinstance(declaration, Mapping):
        return None
    limits = _concurrency(declaration)
    singles = {name: declaration[name] for name in _SINGLE if declaration.get(name)}
    keyed = [one for one in limits if one.get("key") is not None]
    own = [one for one in limits if one.get("key") is None and one.get("overflow", "wait") != "wait"]
    if not singles and not keyed and all(one["overflow"] == "cancel" for one in own):
        return None  # what every workflow has: counted by its name
    return {"concurrency": [dict(one) for one in own + keyed], **singles}


def rules_of(document: Json, limit: int) -> Rules:
    """
    Args:
        document: as `declared_rules` gives it.
        limit: the whole workflow's at present.
    """
    limits = {
        one.get("key") or "": AtOnce(one["limit"] if one.get("key") else limit, one.get("overflow", DEFAULT_OVERFLOW))
        for one in document.get("concurrency", ())
    }
    throttle, debounce, batch = (document.get(name) for name in _SINGLE)
    return Rules(
        limits,
        throttle and Throttle(_of(throttle), _seconds(throttle, "per") / throttle["limit"], throttle.get("burst", 1)),
        debounce and Debounce(_of(debounce), _seconds(debounce, "quiet"), _longest(debounce)),
        batch and Batch(_of(batch), batch["size"], _seconds(batch, "within")),
    )


def _concurrency(declaration: Json) -> list[Mapping[str, Json]]:
    asked = declaration.get("concurrency") if isinstance(declaration, Mapping) else None
    several = asked if isinstance(asked, list) else [asked]
    return [{"limit": one} if isinstance(one, int) else one for one in several if isinstance(one, (int, Mapping))]


def _of(rule: Mapping[str, Json]) -> str:
    return rule.get("key") or ""


def _seconds(rule: Mapping[str, Json], name: str) -> timedelta:
    return timedelta(seconds=rule[name])


def _longest(debounce: Mapping[str, Json]) -> timedelta | None:
    return None if debounce.get("at_most") is None else _seconds(debounce, "at_most")
