"""Addresses in workflows: what data may do to them, and which hosts count as written by the author."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from executing import URL, Bench, bench, in_yaml, steps

from connectors import http
from connectors.kit.action import Url, action
from connectors.kit.call import current_call
from flows import Event, workflow
from flows.language.code import hosts_in_code

PRIVATE = "http://10.0.0.7:8080/orders"


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


def get(url: str, **more: Any) -> str:
    return json.dumps({"id": "get", "uses": "http.request", "with": {"url": url}, **more})


@pytest.mark.parametrize(
    ("given", "sent"),
    [("7", "/orders/7/lines"), ("a/b", "/orders/a%2Fb/lines"), ("x?y=1#z", "/orders/x%3Fy%3D1%23z/lines")],
)
async def test_a_value_in_a_url_stays_in_its_place(on: Bench, given: str, sent: str) -> None:
    await on.run(in_yaml(steps(get(URL + "/orders/{{ event.body }}/lines"))), given)

    assert on.remote.requests[0].url.raw_path.decode() == sent
    assert on.remote.requests[0].url.host == "remote.test"


async def test_a_value_that_would_leave_its_place_fails_the_step(on: Bench) -> None:
    execution = await on.run(in_yaml(steps(get(URL + "/orders/{{ event.body }}/lines"))), "..")

    assert (execution.steps[0].error["code"], on.remote.requests) == ("expression", [])


async def test_a_whole_address_is_taken_as_it_is(on: Bench) -> None:
    await on.run(in_yaml(steps(get("{{ event.body }}"))), f"{URL}/a?b=c")

    assert str(on.remote.requests[0].url) == f"{URL}/a?b=c"


# Whose host it is: what the HTTP client asks before it connects to an address that is not public


async def asked(on: Bench, flow: Any, body: Any = None) -> Callable[[str], bool]:
    seen: list[Callable[[str], bool]] = []
    answer = on.remote.__call__

    async def look(request: Any) -> Any:
        seen.append(current_call.get().wrote_host)
        return await answer(request)

    on.runtime.services.http._transport.handler = look  # type: ignore[attr-defined]  # the bench's mock transport
    await on.run(flow, body)
    return seen[0]


async def test_the_author_wrote_the_hosts_of_the_step_and_of_vars(on: Bench) -> None:
    vars_ = "{stock: 'http://Stock.local/api', of_data: 'http://{{ event.body }}/'}"
    flow = in_yaml(steps(get(PRIVATE + "/{{ event.body }}"), vars=vars_))

    wrote = await asked(on, flow, "evil.local")

    assert [wrote(host) for host in ("10.0.0.7:8080", "stock.local:80", "evil.local:80", "10.0.0.7:80")] == [
        True,
        True,
        False,
        False,
    ]


async def test_another_steps_host_is_not_this_ones(on: Bench) -> None:
    other = json.dumps({"id": "other", "uses": "log.message", "with": {"text": PRIVATE}})

    wrote = await asked(on, in_yaml(steps(other, get("{{ event.body }}"))), f"{URL}/a")

    assert not wrote("10.0.0.7:8080")


STOCK = "http://stock.local:9000"


@workflow(name="in-python")
async def in_python(event: Event) -> None:
    await http.request(url=event.body)


async def test_a_python_author_wrote_what_stands_in_his_file_and_its_modules_globals(on: Bench) -> None:
    wrote = await asked(on, in_python, f"{URL}/a")

    assert wrote("stock.local:9000")
    assert wrote("10.0.0.7:8080")
    assert not wrote("169.254.169.254:80")


def test_hosts_are_found_in_constants_f_strings_and_globals() -> None:
    source = 'A = "http://a.local/x"\nB = f"https://b.local/{A}"\nC = f"http://{A}/"\nD = f"http://d.local{A}/"\n'

    assert hosts_in_code(source, {"E": "http://e.local:1/", "F": 7}) == {"a.local:80", "b.local:443", "e.local:1"}


def test_an_action_says_which_of_its_arguments_are_addresses() -> None:
    @action("acme.fetch")
    async def fetch(*, where: Url, what: str) -> str:
        """See https://acme.example."""
        return where + what

    assert fetch.urls == {"where"}
    assert http.request.urls == {"url"}
