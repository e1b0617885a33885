"""How the lists of APIs go on, page after page. A path such as `data.items` leads through an answer's JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import httpx

from connectors.kit.answer import Answer
from foundation.errors import ActionError, RemoteError

MAX_PAGES: Final = 100
"""How many pages one list may have: a step must end."""


@dataclass(frozen=True)
class Next:
    """The page to ask for: by parameters beside the list's own, or by an address."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None


@dataclass(frozen=True)
class Page:
    """A page that came."""

    answer: Answer
    number: int
    """Counted from 0."""
    items: int
    so_far: int
    """The items of this page and those before it."""


class Paginator(Protocol):
    def first(self) -> Next:
        """How the first page is asked for."""
        ...

    def after(self, page: Page) -> Next | None:
        """How the page after this one is asked for; None: this one was the last."""
        ...


@dataclass(frozen=True)
class Cursor:
    """Each answer has a word that brings the next page.

    Args:
        parameter: the parameter that takes the word.
        found_at: where the answer has it; a number counts a list's items, as in `data.-1.id`.
        more: where the answer says whether there are more pages, if it does.
    """

    parameter: str
    found_at: str
    more: str = ""

    def first(self) -> Next:
        return Next()

    def after(self, page: Page) -> Next | None:
        body = page.answer.json()
        cursor = dig(body, self.found_at)
        if cursor in (None, "") or (self.more and not dig(body, self.more)):
            return None
        return Next({self.parameter: cursor})


@dataclass(frozen=True)
class PageNumber:
    """Pages have numbers.

    The list ends with an empty page, unless the answer says where: a page that is shorter than was asked for may just
    be the most that the vendor gives.

    Args:
        begin: the first page's number.
        size_parameter, size: how large a page is asked for.
        pages: where the answer has the number of pages, if it does.
    """

    parameter: str = "page"
    begin: int = 1
    size_parameter: str = "per_page"
    size: int = 100
    pages: str = ""

    def first(self) -> Next:
        return self._page(0)

    def after(self, page: Page) -> Next | None:
        pages = dig(page.answer.json(), self.pages) if self.pages else None
        is_last = page.number + 1 >= int(pages) if pages is not None else page.items == 0
        return None if is_last else self._page(page.number + 1)

    def _page(self, number: int) -> Next:
        return Next({self.parameter: self.begin + number, self.size_parameter: self.size})


@dataclass(frozen=True)
class Offset:
    """Pages begin at the number of items before them. The list ends as with `PageNumber`.

    Args:
        size_parameter, size: how large a page is asked for.
        total: where the answer has the number of all items, if it does.
    """

    parameter: str = "offset"
    size_parameter: str = "limit"
    size: int = 100
    total: str = ""

    def first(self) -> Next:
        return self._from(0)

    def after(self, page: Page) -> Next | None:
        total = dig(page.answer.json(), self.total) if self.total else None
        is_last = page.items == 0 or (total is not None and page.so_far >= int(total))
        return None if is_last else self._from(page.so_far)

    def _from(self, offset: int) -> Next:
        return Next({self.parameter: offset, self.size_parameter: self.size})


@dataclass(frozen=True)
class LinkHeader:
    """The header `Link` has the next page's address, as `rel="next"` (RFC 8288)."""

    def first(self) -> Next:
        return Next()

    def after(self, page: Page) -> Next | None:
        url = httpx.Response(200, headers=page.answer.headers).links.get("next", {}).get("url")
        return Next(url=url) if url else None


@dataclass(frozen=True)
class NextUrl:
    """The answer's body has the next page's address."""

    found_at: str

    def first(self) -> Next:
        return Next()

    def after(self, page: Page) -> Next | None:
        url = dig(page.answer.json(), self.found_at)
        return Next(url=str(url)) if url else None


async def all_items(
    ask: Callable[[Next], Awaitable[Answer]], paginator: Paginator, *, found_at: str = "", limit: int | None = None
) -> list[Any]:
    """The items of all pages.

    Args:
        ask: asks for a page.
        found_at: where each answer has its items; empty: the answer is the list.
        limit: how many are wanted; None: all.

    Raises:
        RemoteError: an answer has no list there, or leads to itself.
        ActionError: there are more than `MAX_PAGES`.
    """
    found: list[Any] = []
    wanted = paginator.first()
    for number in range(MAX_PAGES):
        answer = await ask(wanted)
        items = _items(answer, found_at)
        found += items
        if limit is not None and len(found) >= limit:
            return found[:limit]
        following = paginator.after(Page(answer, number, len(items), len(found)))
        if following is None:
            return found
        if following == wanted:
            raise RemoteError(f"{answer.source} gives the same page as the next one", status=answer.status)
        wanted = following
    raise ActionError(f"{answer.source} has more than {MAX_PAGES} pages: ask for less, or set a limit")


def dig(body: Any, path: str) -> Any:
    """What the path leads to in JSON; None if it leads nowhere."""
    for step in path.split(".") if path else ():
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and step.lstrip("-").isdigit() and -len(body) <= int(step) < len(body):
            body = body[int(step)]
        else:
            return None
    return body


def _items(answer: Answer, found_at: str) -> list[Any]:
    items = dig(answer.json(), found_at)
    if not isinstance(items, list):
        where = f" at {found_at!r}" if found_at else ""
        raise RemoteError(f"{answer.source} answered in an unknown form, without a list{where}", status=answer.status)
    return items
