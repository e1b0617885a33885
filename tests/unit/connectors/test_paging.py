"""How lists go on: each paginator over the answers of an API that pages that way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from connectors.kit.answer import Answer
from connectors.kit.paging import (
    MAX_PAGES,
    Cursor,
    LinkHeader,
    Next,
    NextUrl,
    Offset,
    PageNumber,
    Paginator,
    all_items,
    dig,
)
from foundation.errors import ActionError, RemoteError


def answered(body: Any, **headers: str) -> Answer:
    response = httpx.Response(200, json=body, headers=headers)
    return Answer(200, response.headers, response.content, "GET parcels.example")


async def listed(paginator: Paginator, give: Callable[[Next], Answer], **options: Any) -> tuple[list[Any], list[Next]]:
    asked: list[Next] = []

    async def ask(wanted: Next) -> Answer:
        asked.append(wanted)
        return give(wanted)

    return await all_items(ask, paginator, **options), asked


def in_turn(*given: Answer) -> Callable[[Next], Answer]:
    left = iter(given)
    return lambda wanted: next(left)


async def test_a_cursor_leads_to_the_next_page_until_there_is_none() -> None:
    give = in_turn(
        answered({"members": [1, 2], "meta": {"next_cursor": "b"}}),
        answered({"members": [], "meta": {"next_cursor": "c"}}),  # an empty page need not be the last
        answered({"members": [3], "meta": {"next_cursor": ""}}),
    )
    found, asked = await listed(Cursor("cursor", "meta.next_cursor"), give, found_at="members")
    assert found == [1, 2, 3]
    assert asked == [Next(), Next({"cursor": "b"}), Next({"cursor": "c"})]


async def test_a_cursor_may_be_the_last_item_with_a_word_for_more() -> None:
    give = in_turn(
        answered({"data": [{"id": "a"}, {"id": "b"}], "has_more": True}),
        answered({"data": [{"id": "c"}], "has_more": False}),
    )
    found, asked = await listed(Cursor("starting_after", "data.-1.id", more="has_more"), give, found_at="data")
    assert [item["id"] for item in found] == ["a", "b", "c"]
    assert asked == [Next(), Next({"starting_after": "b"})]


async def test_page_numbers_go_up_until_a_page_is_empty() -> None:
    give = in_turn(answered([1, 2]), answered([3]), answered([]))  # a short page may be all that the vendor gives
    found, asked = await listed(PageNumber(size=2), give)
    assert found == [1, 2, 3]
    assert [one.parameters for one in asked] == [{"page": number, "per_page": 2} for number in (1, 2, 3)]


async def test_page_numbers_go_up_to_the_last_that_the_answer_names() -> None:
    give = in_turn(answered({"items": [1], "pages": 2}), answered({"items": [2], "pages": 2}))
    paginator = PageNumber("p", begin=0, size_parameter="size", size=1, pages="pages")
    found, asked = await listed(paginator, give, found_at="items")
    assert found == [1, 2]
    assert [one.parameters for one in asked] == [{"p": 0, "size": 1}, {"p": 1, "size": 1}]


async def test_offsets_count_the_items_that_came() -> None:
    give = in_turn(answered([1, 2]), answered([3]), answered([]))
    found, asked = await listed(Offset(size=50), give)
    assert found == [1, 2, 3]
    assert [one.parameters for one in asked] == [{"offset": offset, "limit": 50} for offset in (0, 2, 3)]


async def test_offsets_end_at_the_total() -> None:
    give = in_turn(answered({"items": [1, 2], "total": 3}), answered({"items": [3], "total": 3}))
    found, asked = await listed(Offset("startAt", "maxResults", 2, total="total"), give, found_at="items")
    assert found == [1, 2, 3]
    assert len(asked) == 2


@pytest.mark.parametrize(
    "link",
    [
        '<https://parcels.example/p?page=2>; rel="next"',
        '<https://parcels.example/p?page=9>; rel="last", <https://parcels.example/p?page=2>; rel="next"',
    ],
)
async def test_a_link_header_has_the_next_address(link) -> None:
    last = '<https://parcels.example/p?page=1>; rel="prev"'
    found, asked = await listed(LinkHeader(), in_turn(answered([1], link=link), answered([2], link=last)))
    assert found == [1, 2]
    assert asked == [Next(), Next(url="https://parcels.example/p?page=2")]


@pytest.mark.parametrize("end", [{}, {"paging": None}, {"paging": {"next": None}}, {"paging": {"next": ""}}])
async def test_the_body_may_have_the_next_address(end) -> None:
    give = in_turn(answered({"items": [1], "paging": {"next": "/p?after=1"}}), answered({"items": [2], **end}))
    found, asked = await listed(NextUrl("paging.next"), give, found_at="items")
    assert found == [1, 2]
    assert asked == [Next(), Next(url="/p?after=1")]


async def test_no_more_pages_are_asked_for_than_are_wanted() -> None:
    found, asked = await listed(PageNumber(size=2), lambda wanted: answered([1, 2]), limit=3)
    assert found == [1, 2, 1]
    assert len(asked) == 2


async def test_a_list_without_end_is_an_error_not_a_part_of_it() -> None:
    with pytest.raises(ActionError, match=f"more than {MAX_PAGES} pages"):
        await listed(Offset(), lambda wanted: answered([1]))


async def test_a_page_that_leads_to_itself_is_the_vendors_error() -> None:
    with pytest.raises(RemoteError, match="gives the same page"):
        await listed(Cursor("cursor", "next"), lambda wanted: answered({"items": [1], "next": "b"}), found_at="items")


@pytest.mark.parametrize("body", [{}, {"items": None}, {"items": {"a": 1}}, [1]])
async def test_an_answer_without_the_list_is_the_vendors_error(body) -> None:
    with pytest.raises(RemoteError, match="without a list at 'items'"):
        await listed(LinkHeader(), in_turn(answered(body)), found_at="items")


@pytest.mark.parametrize(
    ("path", "found"),
    [("", {"a": [{"b": 1}]}), ("a.0.b", 1), ("a.-1.b", 1), ("a.1", None), ("a.-2", None), ("a.b", None), ("c.d", None)],
)
def test_a_path_leads_through_json(path, found) -> None:
    assert dig({"a": [{"b": 1}]}, path) == found
