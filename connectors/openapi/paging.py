"""How the lists of an operation go on, as workflows and projects write it: `{style: link_header, items: data}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from connectors.kit.paging import Cursor, LinkHeader, NextUrl, Offset, PageNumber, Paginator
from connectors.openapi.faults import CallError
from foundation.nearest import nearest

Json = Any

STYLES: Final[Mapping[str, Callable[..., Paginator]]] = {
    "link_header": LinkHeader,
    "next_url": NextUrl,
    "cursor": Cursor,
    "page_number": PageNumber,
    "offset": Offset,
}
_OWN: Final = ("style", "items", "limit")
SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {
        "style": {"enum": list(STYLES), "description": "How the next page is found."},
        "items": {
            "type": "string",
            "description": "Where an answer has its items, as data.items; else it is the list.",
        },
        "limit": {"type": "integer", "minimum": 1, "description": "How many items are wanted; default: all."},
        "parameter": {"type": "string", "description": "The parameter that takes the cursor, the page or the offset."},
        "found_at": {"type": "string", "description": "Where an answer has the cursor or the next address."},
        "more": {"type": "string", "description": "Where an answer says whether there are more pages."},
        "begin": {"type": "integer", "description": "The first page's number; 1."},
        "size_parameter": {"type": "string", "description": "The parameter that takes the size of a page."},
        "size": {"type": "integer", "description": "How large a page is asked for; 100."},
        "pages": {"type": "string", "description": "Where an answer has the number of pages."},
        "total": {"type": "string", "description": "Where an answer has the number of all items."},
    },
    "required": ["style"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Pages:
    paginator: Paginator
    items: str = ""
    limit: int | None = None


def pages_of(said: Mapping[str, Json]) -> Pages:
    """Raises CallError, which names what is wrong."""
    style = said.get("style")
    if not isinstance(style, str) or style not in STYLES:
        raise CallError(f"`paginate.style` must be one of {', '.join(STYLES)}")
    make = STYLES[style]
    known = [one.name for one in fields(make)]  # type: ignore[arg-type]  # each is a dataclass
    given = {key: value for key, value in said.items() if key not in _OWN}
    for key in given:
        if key not in known:
            near = nearest(key, known)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(known) or 'none'}"
            raise CallError(f"`paginate`: {style} has no option {key!r}; {hint}")
    try:
        return Pages(make(**given), str(said.get("items") or ""), said.get("limit"))
    except TypeError as error:
        raise CallError(f"`paginate`: {style}: {str(error).partition(' ')[2]}") from None
