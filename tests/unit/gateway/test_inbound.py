"""A large request is understood as a small one is, and off the event loop."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from gateway_under_test import ORDERS, gateway

from ipaas.gateway import inbound
from ipaas.gateway.payload import MAX_DEPTH

INPUT = ORDERS + "input: {type: object, properties: {items: {type: array, items: {type: integer}}}}\n"
LARGE = [
    {"id": n, "name": 'Gr\u00fc\u00dfe \U0001f600 "quoted" \\ \u2028', "tags": [n, [n]], "price": 1.5}
    for n in range(2_000)
]


async def stored(content: bytes, content_type: str = "application/json", workflow: str = ORDERS) -> Any:
    """The body as it is in the history."""
    async with gateway(workflow) as under_test:
        answer = await under_test.http.post("/hooks/orders", content=content, headers={"Content-Type": content_type})
        assert answer.status_code == 202, answer.text
        [execution] = await under_test.executions()
    return execution.event["body"]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
async def test_a_large_body_is_stored_as_it_was_sent(ascii_only: bool, indent: int | None):
    text = json.dumps({"items": LARGE}, ensure_ascii=ascii_only, indent=indent)
    assert len(text) > 2 * inbound.INLINE_BYTES
    assert await stored(text.encode()) == {"items": LARGE}


async def test_a_large_text_with_half_a_surrogate_pair_stays_as_it_is():
    assert await stored(b'["\\ud800", "' + b"x" * 50_000 + b'"]') == ["\ud800", "x" * 50_000]


async def test_a_byte_order_mark_is_no_part_of_a_large_body():
    assert await stored(b'\xef\xbb\xbf["' + b"x" * 50_000 + b'"]') == ["x" * 50_000]


async def test_a_large_form_and_a_large_text_are_stored():
    form = b"&".join(b"a%d=%%C3%%A9" % n for n in range(9_000))
    body = await stored(form, "application/x-www-form-urlencoded")
    assert (len(body), body["a8999"]) == (9_000, "\u00e9")
    assert await stored("\u00e9".encode() * 50_000, "text/plain") == "\u00e9" * 50_000


@pytest.mark.parametrize("size", [10, 50_000])
async def test_a_number_that_no_float_holds_is_400(size: int):
    for number in (b"1e999", b"-1e999", b"1" * 400 + b".5"):
        async with gateway() as under_test:
            content = b'{"pad": "' + b"x" * size + b'", "a": [' + number + b"]}"
            answer = await under_test.http.post(
                "/hooks/orders", content=content, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 400
            assert await under_test.executions() == []
    assert await stored(b'["1e999", 1e300]') == ["1e999", 1e300]


@pytest.mark.parametrize("pad", ["", "x" * 50_000])
async def test_the_deepest_body_that_is_taken(pad: str):
    for levels, status in ((MAX_DEPTH, 202), (MAX_DEPTH + 1, 400)):
        nested = b"[" * (levels - 1) + json.dumps([pad]).encode() + b"]" * (levels - 1)
        async with gateway() as under_test:
            answer = await under_test.http.post(
                "/hooks/orders", content=nested, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == status


async def where(monkeypatch: pytest.MonkeyPatch, workflow: str, body: Any) -> bool:
    """Whether the request was understood in another thread than the event loop's."""
    threads = []

    def watched(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return understand(*arguments)

    understand = inbound.understand
    monkeypatch.setattr(inbound, "understand", watched)
    async with gateway(workflow) as under_test:
        assert (await under_test.post(body)).status_code == 202
    return threads[0] is not threading.main_thread()


async def test_only_what_is_large_leaves_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    small, medium, large = ({"pad": "x" * size} for size in (100, 5_000, 50_000))
    assert [await where(monkeypatch, ORDERS, body) for body in (small, medium, large)] == [False, False, True]
    assert [await where(monkeypatch, INPUT, body) for body in (small, medium, large)] == [False, True, True]


async def test_a_large_body_that_does_not_fit_is_422_with_the_path():
    async with gateway(INPUT) as under_test:
        answer = await under_test.post({"items": [1] * 30_000 + ["two"]})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == "$.items[30000]"
        assert await under_test.executions() == []


async def test_many_query_parameters_and_headers_of_one_name_are_taken():
    async with gateway() as under_test:
        query = "&".join(["a=1"] * 5_000)
        headers = [("X-Tag", "t")] * 200
        assert (await under_test.http.post(f"/hooks/orders?{query}", headers=headers)).status_code == 202
        [execution] = await under_test.executions()
    assert execution.event["query"] == {"a": ["1"] * 5_000}
    assert execution.event["headers"]["x-tag"] == ", ".join(["t"] * 200)
