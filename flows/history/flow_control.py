"""Flow control as every store has it: the rules of a workflow, whom they let pass, and what becomes of the others.

An execution comes with its keys (`records.Key`), evaluated when it was accepted. What it is held to are the rules of
its workflow's current version; a key whose rule is gone counts for nothing. An execution that waits stands in a *lane*:
in its workflow's queue, or in that of the key it waits for.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from flows.history.records import Json, Key, Status

T = TypeVar("T")

QUEUE, ARRIVED = "", "new"
"""Lanes: the workflow's queue, whose oldest are admitted; and what has keys and was not looked at yet."""
DEFAULT_LIMIT, DEFAULT_OVERFLOW = 10, "wait"
_SINGLE: Final = ("throttle", "debounce", "batch")


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


# What is stored with an execution


def to_text(keys: Sequence[Key], priority: float) -> str | None:
    """An execution's keys and priority as its row has them; None: it has no keys."""
    rows = [[key.rule, key.of, key.value, key.shown] for key in keys]
    return json.dumps([priority, rows], separators=(",", ":")) if rows else None


def from_text(text: str | None) -> tuple[list[Key], float]:
    """Keys and priority."""
    if text is None:
        return [], 0.0
    priority, rows = json.loads(text)
    return [Key(*row) for row in rows], priority


def place(accepted_at: datetime, keys: Sequence[Key], priority: float) -> tuple[str, datetime]:
    """The lane of an execution that was accepted just now, and since when it counts as waiting there."""
    return (ARRIVED, accepted_at) if keys else (QUEUE, ahead(accepted_at, priority))


def ahead(accepted_at: datetime, priority: float) -> datetime:
    return accepted_at - timedelta(seconds=priority)


def waiting_for(lane: str, keys: Sequence[Key]) -> str | None:
    """What an execution waits for, in stable words; None: it was not looked at yet."""
    if lane == QUEUE:
        return "concurrency"
    return next((key.words for key in keys if key.lane == lane), None)


# Who passes, and what becomes of the others


@dataclass
class Gate:
    """Whom a workflow's rules let pass at one moment, beside those that have passed.

    Attributes:
        used: how many have a slot, by lane.
        paid: see `Throttle.free_at`, by lane.
    """

    rules: Rules
    now: datetime
    used: Counter[str]
    paid: dict[str, datetime]

    def room(self, lane: str, of: str) -> int:
        """How many more of a limit's key may be admitted."""
        limit = self.rules.limits.get(of)
        return max(limit.limit - self.used[lane], 0) if limit else sys.maxsize

    def starts(self, lane: str) -> int:
        """How many more of a throttle's key may start now."""
        return self.rules.throttle.starts(self.paid.get(lane), self.now) if self.rules.throttle else sys.maxsize

    def blocks(self, keys: Sequence[Key], *, again: bool) -> Key | None:
        """The key that an execution has to wait for; None: it may start.

        Args:
            again: it was begun before, and its start has counted.
        """
        for key in keys:
            if key.rule == "concurrency" and not self.room(key.lane, key.of):
                return key
        return next((key for key in self._throttled(keys, again) if not self.starts(key.lane)), None)

    def take(self, keys: Sequence[Key], *, again: bool) -> None:
        """It starts."""
        self.used.update(key.lane for key in keys if key.rule == "concurrency")
        for key in self._throttled(keys, again):
            if self.rules.throttle:
                self.paid[key.lane] = self.rules.throttle.after(self.paid.get(key.lane), self.now)

    def _throttled(self, keys: Sequence[Key], again: bool) -> list[Key]:
        return [] if again else [key for key in keys if self.rules.throttles(key)]


def beyond(limit: AtOnce, running: Sequence[T], waiting: Sequence[T]) -> list[T]:
    """Those of a key that a limit's overflow ends. Both oldest first."""
    room = max(limit.limit - len(running), 0)
    if limit.overflow == "cancel":
        return list(waiting[room:])
    if limit.overflow == "latest":
        return list(waiting[room:-1])
    if limit.overflow == "replace":
        several = [*running, *waiting]
        return several[: max(len(several) - limit.limit, 0)]
    return []


def limit_reached(limit: int, key: Key | None = None) -> dict[str, Json]:
    """The error of an execution that overflow `cancel` ended."""
    whose = f" ({key.words})" if key and key.of else ""
    subject = "the limit" if whose else "the workflow's limit"
    message = f"cancelled: {subject} of {limit} executions at once was reached{whose}"
    return {"code": "cancelled", "message": message, "step": None}


def superseded(key: Key, by: str) -> dict[str, Json]:
    """The error of an execution in whose place another one runs."""
    message = f"execution {by} runs instead ({key.words})"
    return {"code": "superseded", "message": message, "step": None, "execution_id": by}


def batched(key: Key, into: str) -> dict[str, Json]:
    """The error of an execution whose event another one has in its batch."""
    message = f"its event is in the batch of execution {into} ({key.words})"
    return {"code": "batched", "message": message, "step": None, "execution_id": into}


StandsIn = Callable[[Key, str], dict[str, Json]]


def end_of_overflow(overflow: str) -> Status:
    return Status.SKIPPED if overflow == "latest" else Status.CANCELLED


def with_batch(texts: Sequence[str]) -> str:
    """The first of these events, as JSON texts, with all of them as its `batch`."""
    return f'{texts[0][:-1]},"batch":[{",".join(texts)}]}}'
