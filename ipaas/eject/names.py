"""Names in Python for what has one in YAML."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

import flows

_TAKEN = {*dir(builtins), *keyword.kwlist, *keyword.softkwlist, *flows.__all__, "Any", "event", "one"}


class Names:
    """Gives each thing a name of its own."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = _TAKEN | set(taken)

    def new(self, wanted: str) -> str:
        """The wanted name in Python's letters, or one like it when it is taken."""
        name = re.sub(r"\W", "_", wanted, flags=re.ASCII).lower()
        name = name if name[:1].isalpha() else f"a{name}"
        number, found = 1, name
        while found in self._taken:
            number += 1
            found = f"{name}_" if number == 2 and name in _TAKEN else f"{name}_{number}"
        self._taken.add(found)
        return found
