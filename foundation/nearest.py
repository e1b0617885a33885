"""The name that somebody meant, among those that there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import Final

_LONGEST: Final = 64
"""Characters of a name that are compared."""
_MOST: Final = 200
"""Names that are compared: comparing takes some microseconds each, and a file may name thousands."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one, if any is."""
    alike = (one for one in known if abs(len(one) - len(name)) <= max(4, len(name) // 2))
    candidates = list(islice(alike, _MOST))
    found = difflib.get_close_matches(name[:_LONGEST], [one[:_LONGEST] for one in candidates], n=1)
    return next((one for one in candidates if one[:_LONGEST] == found[0]), None) if found else None


def listed(known: Iterable[str], most: int = 50) -> str:
    """`a, b, c`; of very many the first."""
    names = list(islice(known, most + 1))
    return ", ".join([*names[:most], "…"] if len(names) > most else names)
