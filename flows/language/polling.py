"""A poll trigger made ready to run: what its action is called with, and which items are in what that gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from flows.expressions import Expression, literal_hosts
from flows.language.definition import Declaration, Json, Poll
from flows.language.faults import DefinitionErrors, Faults
from flows.language.place import ITEM_NAMES, OUTPUT_NAMES, POLL_NAMES, Actions, Place
from flows.language.uses import Uses
from foundation.errors import ExpressionError, IpaasError

MOST_ITEMS: Final = 10_000
"""In one poll."""


MOST_CURSOR: Final = 64 * 1024
"""Characters of JSON."""


class UnfitItems(IpaasError):
    """What a poll gave has no items that can be told apart."""

    code = "poll"


class CompiledPoll:
    """
    Attributes:
        poll: what it was made of.

    Raises:
        DefinitionErrors: its expressions are faulty; check first.
    """

    def __init__(self, poll: Poll, actions: Actions) -> None:
        self.poll = poll
        self._hosts = literal_hosts(poll.with_)
        faults = Faults(Declaration(name="poll"))
        place = Place(faults, actions)
        self._with, self._items, self._key, self._cursor = _compiled(place, poll)
        if faults.found:
            raise DefinitionErrors(faults.found)

    def arguments(self, cursor: Json, now: datetime) -> dict[str, Any]:
        """The action's. Raises ExpressionError."""
        arguments: dict[str, Any] = self._with.render({"cursor": cursor, "now": now})
        return arguments | ({"credential": self.poll.credential} if self.poll.credential else {})

    def wrote_host(self, host: str) -> bool:
        """Whether this `host:port` stands literally in the trigger."""
        return host in self._hosts

    def items(self, output: Json) -> dict[str, Json]:
        """The items by key, in the list's order; of those with the same key the first.

        Raises:
            ExpressionError, UnfitItems
        """
        items = self._items.render({"output": output})
        if not isinstance(items, Sequence) or isinstance(items, str):
            raise UnfitItems(f"items: expected a list, got {_shown(items)}")
        if len(items) > MOST_ITEMS:
            raise UnfitItems(
                f"items: {len(items)} are more than the {MOST_ITEMS} that one poll may give: ask for fewer"
            )
        found: dict[str, Json] = {}
        for index, item in enumerate(items):
            found.setdefault(self._key_of(item, index), item)
        return found

    def cursor(self, output: Json) -> Json:
        """What the next poll sees as `cursor`. Raises ExpressionError, UnfitItems."""
        cursor = self._cursor.render({"output": output}) if self._cursor else None
        if (size := len(json.dumps(cursor))) > MOST_CURSOR:
            raise UnfitItems(f"cursor: {size} characters of JSON are more than the {MOST_CURSOR} that are kept")
        return cursor

    def _key_of(self, item: Json, index: int) -> str:
        try:
            key = self._key.render({"item": item})
        except ExpressionError as error:
            raise ExpressionError(f"key of items[{index}]: {error}") from None
        if key is None or key == "":
            raise UnfitItems(f"key: that of items[{index}] is empty; it has to tell the item from all others")
        return key if isinstance(key, str) else json.dumps(key, sort_keys=True)


def check_poll(place: Place, poll: Poll) -> None:
    """Tells `place` what is wrong with the trigger."""
    step = {"id": "poll", "uses": poll.uses, "with": poll.with_, "credential": poll.credential}
    Uses.model_validate(step).check(place)
    _compiled(place, poll)


def _compiled(place: Place, poll: Poll) -> tuple[Expression, Expression, Expression, Expression | None]:
    action = place.action(poll.uses)
    verbatim, urls = (action.unrendered, action.urls) if action else ((), ())
    of_output = place.at(names=OUTPUT_NAMES)
    return (
        place.at("with", names=POLL_NAMES).value(dict(poll.with_), verbatim=verbatim, urls=urls),
        of_output.at("items").expression(poll.items),
        place.at("key", names=ITEM_NAMES).expression(poll.key),
        None if poll.cursor is None else of_output.at("cursor").expression(poll.cursor),
    )


def _shown(value: Json) -> str:
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(list(value)[:10]) or 'nothing'}"
    return "nothing" if value is None else f"a {type(value).__name__}"
