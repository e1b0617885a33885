"""What polls are made of, alike for every store.

A poll trigger is known by its workflow and its source: the action that it uses, numbered from the second one on. So
what it has seen outlives any change of the workflow that leaves the action.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from flows.history.records import Json

KEPT_KEYS = 10_000
"""How many keys of items are remembered beyond those that the last poll has found, the ones that were seen last."""
FROZEN_POLLS, FROZEN_SECONDS = 3, 300.0
"""A poll is frozen when none has gone well for so many of its intervals and so many seconds."""


@dataclass(frozen=True)
class PollHold:
    """The right to write for a poll, in its how-manieth run. Taken from `PollState.hold`."""

    workflow: str
    source: str
    run: int


@dataclass(frozen=True)
class PollState:
    """A poll trigger's state."""

    workflow: str
    source: str
    """Which of the workflow's polls: `rss.items`, and `rss.items-2` for a second one that uses the same action."""
    every: float
    """Seconds."""
    active: bool
    """Whether its workflow is."""
    due_at: datetime
    age: float
    """Seconds since the last poll that went well began its rest; since it was declared when none has."""
    run: int = 0
    """How often it was begun."""
    polled_at: datetime | None = None
    """When a poll went well last. None: none has yet."""
    failures: int = 0
    """How often it has failed since."""
    error: Json = None
    """The last failure's {code, message}."""
    cursor: Json = None

    @property
    def hold(self) -> PollHold:
        return PollHold(self.workflow, self.source, self.run)

    @property
    def is_frozen(self) -> bool:
        return self.active and self.age > FROZEN_POLLS * self.every + FROZEN_SECONDS


def declared_polls(declaration: Json) -> dict[str, Mapping[str, Json]]:
    """A version's poll triggers as plain data, by source."""
    triggers = declaration.get("triggers") if isinstance(declaration, Mapping) else None
    found: dict[str, Mapping[str, Json]] = {}
    used: Counter[str] = Counter()
    for trigger in triggers or ():
        if isinstance(trigger, Mapping) and (poll := trigger.get("poll")):
            used[poll["uses"]] += 1
            number = used[poll["uses"]]
            found[poll["uses"] if number == 1 else f"{poll['uses']}-{number}"] = poll
    return found
