"""`rss`: feeds in RSS, Atom and RDF."""

from __future__ import annotations

import asyncio
import hashlib
import io
from calendar import timegm
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict
from urllib.parse import urljoin

from connectors import http
from connectors.kit.action import Url, action
from connectors.kit.answer import Answer
from connectors.kit.api import Api
from foundation.errors import RemoteError

API = Api("rss", auth=http.API.auth)


class Feed(TypedDict):
    title: str | None
    link: str | None


class FeedItem(TypedDict):
    """`id` is the feed's own for the item, else its link, else a hash of what it says. Times are in UTC.

    `summary` and `content` are HTML without scripts, or text.
    """

    id: str
    title: str | None
    link: str | None
    published: str | None
    updated: str | None
    author: str | None
    summary: str | None
    content: str | None
    tags: list[str]
    feed: Feed


@action("rss.items", credential=tuple(API.auth))
async def items(*, url: Url, credential: str | None = None) -> list[FeedItem]:
    """Reads a feed: https://www.rssboard.org/rss-specification

    RSS 0.9 to 2.0, RDF and Atom, in whatever state of repair.

    Args:
        url: the feed's address; written literally, anywhere.
        credential: the name of a credential of type basic, bearer or api-key.

    Returns:
        The feed's items, the oldest first.
    """
    answer = await API.get(url, credential=credential, headers={"Accept": _ACCEPTED})
    return await asyncio.to_thread(_items, answer, url)


_ACCEPTED = (
    "application/atom+xml, application/rss+xml, application/rdf+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1"
)


def _items(answer: Answer, url: str) -> list[FeedItem]:
    import feedparser  # here: whoever only checks workflows need not wait for it

    headers = {"content-type": answer.headers.get("content-type", "")}
    # A stream: given bytes, it would take them for the name of a file or an address, and read that.
    parsed: Any = feedparser.parse(io.BytesIO(answer.content), response_headers=headers)
    if not parsed.get("version") and not parsed.entries:
        raise RemoteError(
            f"{answer.source} answered {answer.status} with something else than a feed", status=answer.status
        )
    feed: Feed = {"title": parsed.feed.get("title"), "link": parsed.feed.get("link")}
    found = [_item(dict(entry), feed, url) for entry in parsed.entries]  # its own dictionaries make up what is missing
    if all(item["published"] for item in found):
        return sorted(found, key=lambda item: item["published"] or "")
    return found[::-1]


def _item(entry: Mapping[str, Any], feed: Feed, url: str) -> FeedItem:
    title, summary = entry.get("title"), entry.get("summary")
    link = _link(url, entry.get("link"))
    said = "\n".join(part or "" for part in (title, entry.get("published"), summary))
    return {
        "id": entry.get("id") or link or hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest(),
        "title": title,
        "link": link,
        "published": _time(entry.get("published_parsed")),
        "updated": _time(entry.get("updated_parsed")),
        "author": entry.get("author"),
        "summary": summary,
        "content": next((part.get("value") for part in entry.get("content", ())), None),
        "tags": [tag["term"] for tag in entry.get("tags", ()) if tag.get("term")],
        "feed": feed,
    }


def _link(base: str, link: str | None) -> str | None:
    try:
        return urljoin(base, link) if link else None
    except ValueError:  # no address at all
        return link


def _time(parsed: Sequence[int] | None) -> str | None:
    """RFC 3339, of the parts of a time in UTC."""
    if not parsed:
        return None
    try:
        return datetime.fromtimestamp(timegm(tuple(parsed)), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):  # in no year that there is
        return None
