"""`rss.items`: what feeds look like, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors import rss
from connectors.kit.testing import acting, answers
from foundation.errors import RemoteError

ATOM = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://news.example/blog/">
  <title>Blog</title><link href="/blog"/>
  <entry><id>urn:2</id><title>Second</title><link href="second"/><updated>2026-01-02T00:00:00Z</updated>
    <published>2026-01-02T00:00:00Z</published><author><name>Ann</name></author><summary>short</summary>
    <content type="html">&lt;p&gt;long&lt;/p&gt;&lt;script&gt;bad()&lt;/script&gt;</content></entry>
  <entry><id>urn:1</id><title>First</title><published>2026-01-01T00:00:00Z</published></entry>
</feed>"""


def a_feed(*items: str) -> str:
    inside = "".join(f"<item>{item}</item>" for item in items)
    return f'<rss version="2.0"><channel><title>News</title>{inside}</channel></rss>'


async def read(text: str | bytes, content_type: str = "application/rss+xml") -> list[Any]:
    content = text.encode() if isinstance(text, str) else text
    answer = httpx.Response(200, content=content, headers={"content-type": content_type})
    async with acting(answers(answer)):
        return list(await rss.items(url="https://news.example/feed.xml"))


async def test_an_atom_feed_is_read_the_oldest_first():
    first, second = await read(ATOM, "application/atom+xml")
    assert (first["id"], first["published"]) == ("urn:1", "2026-01-01T00:00:00Z")
    assert second == {
        "id": "urn:2",
        "title": "Second",
        "link": "https://news.example/blog/second",
        "published": "2026-01-02T00:00:00Z",
        "updated": "2026-01-02T00:00:00Z",
        "author": "Ann",
        "summary": "short",
        "content": "<p>long</p>",
        "tags": [],
        "feed": {"title": "Blog", "link": "https://news.example/blog"},
    }


async def test_without_times_the_order_of_the_feed_is_turned_round():
    found = await read(a_feed("<guid>new</guid>", "<guid>old</guid>"))
    assert [item["id"] for item in found] == ["old", "new"]


async def test_an_item_without_an_id_is_known_by_its_link_else_by_what_it_says():
    by_link, by_text = await read(a_feed("<title>A</title>", "<title>A</title><link>https://news.example/a</link>"))
    assert by_link["id"] == "https://news.example/a"
    assert [item["id"] for item in await read(a_feed("<title>A</title>"))] == [by_text["id"]]
    assert [item["id"] for item in await read(a_feed("<title>B</title>"))] != [by_text["id"]]


async def test_a_feed_may_be_empty():
    assert await read(a_feed()) == []


async def test_a_broken_feed_is_read_as_far_as_it_goes():
    found = await read(a_feed("<guid>1</guid><title>a & b</title>")[: -len("</channel></rss>")])
    assert [(item["id"], item["title"]) for item in found] == [("1", "a & b")]


async def test_another_encoding_is_read_as_it_says():
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + a_feed("<guid>1</guid><title>Gr\u00fc\u00dfe</title>")
    assert [item["title"] for item in await read(text.encode("latin-1"))] == ["Gr\u00fc\u00dfe"]


async def test_a_time_that_there_is_not_is_none():
    [item] = await read(a_feed("<guid>1</guid><pubDate>soon</pubDate>"))
    assert item["published"] is None


@pytest.mark.parametrize("text", ["", "{}", "<html><body>Sign in</body></html>", "\x00\x01"])
async def test_what_is_no_feed_is_refused(text: str):
    with pytest.raises(RemoteError, match=r"news\.example answered 200 with something else than a feed"):
        await read(text)


async def test_an_answer_that_looks_like_a_file_or_an_address_is_not_followed(tmp_path: Path):
    (tmp_path / "feed.xml").write_text(a_feed("<guid>secret</guid>"))
    for text in (str(tmp_path / "feed.xml"), "http://127.0.0.1:9/feed.xml"):
        with pytest.raises(RemoteError, match="something else than a feed"):
            await read(text)


async def test_entities_that_multiply_are_not_expanded():
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY e0 "{"x" * 100}">{entities}]>' + a_feed(
        "<guid>1</guid><title>&e11;</title>"
    )
    assert all(len(item["title"] or "") < 100_000 for item in await read(bomb))
