"""Flow control as every store has it: the rules of a workflow, whom they let pass, and what becomes of the others.

An execution comes with its keys (`records.Key`), evaluated when it was accepted. What it is held to are the rules of
its workflow's current version; a key whose rule is gone counts for nothing. An execution that waits stands in a *lane*:
in its workflow's queue, or in that of the key it waits for.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from flows.history.records import Json, Key, Status
from flows.history.rules import AtOnce, Rules

T = TypeVar("T")

QUEUE, ARRIVED = "", "new"
"""Lanes: the workflow's queue, whose oldest are admitted; and what has keys and was not looked at yet."""


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
