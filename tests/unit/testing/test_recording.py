"""Cases made of what happened: of the requests that were seen, or of the steps that are stored."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from executing import Bench, bench, in_yaml

from blocks.credential_types import BearerToken
from blocks.source import MemoryCredentials
from connectors.kit.testing import answers
from flows.engine.execution import accept_event, run_execution
from flows.history import Execution, signal_address, step_address
from flows.language.event import Event
from flows.language.yaml_text import read_yaml
from flows.on_prefect.flow import WorkflowFlow
from flows.testing.case_text import case_of_exchanges, case_of_history, yaml_of
from flows.testing.playing import play_text
from flows.testing.recording import RecordingTransport, UsedCredentials
from foundation.masking import Masker

ASKS = """
name: asks
steps:
  - {id: ask, uses: http.request, credential: shop, with: {url: "https://shop.test/items?of={{ event.body.name }}"}}
  - {id: tell, uses: http.request, with: {method: POST, url: "https://shop.test/{{ execution.id }}", form: {a: 1}}}
  - {id: never, if: "false", uses: log.message, with: {text: x}}
  - id: lines
    for_each: steps.ask.output.body.lines
    steps: [{id: line, uses: transform.template, with: {template: "{{ line }}", data: {line: "{{ item }}"}}}]
  - {id: gone, on_error: continue, uses: http.request, retry: {attempts: 1}, with: {url: "https://gone.test"}}
output: {told: "{{ steps.tell.output.body }}", of: "{{ execution.id }}", key: "{{ steps.ask.output.body.key }}"}
"""


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench({"shop": {"token": "t-12345678"}}) as on:
        yield on


async def executed(on: Bench, flow: WorkflowFlow, body: Any, transport: httpx.AsyncBaseTransport) -> Execution:
    services = on.runtime.services
    used = UsedCredentials(MemoryCredentials({"shop": {"token": "t-12345678"}}, masker=services.masker))
    async with httpx.AsyncClient(transport=transport) as http:
        object.__setattr__(services, "http", http)
        object.__setattr__(services, "credentials", used)
        execution_id = await accept_event(
            on.runtime, flow.program, Event(body=body, headers={"x-team": "A", "user-agent": "curl"})
        )
        await run_execution(on.runtime, execution_id, flow.program)
    execution = await on.store.execution(execution_id)
    assert execution
    return execution


def shop(request: httpx.Request) -> httpx.Response:
    if request.url.host == "gone.test":
        raise httpx.ConnectError("refused")
    if request.method == "POST":
        return httpx.Response(201, text="two\nlines", headers={"Set-Cookie": "session=1"})
    return httpx.Response(200, json={"lines": ["1.0", "no"], "key": "t-12345678"}, headers={"X-Page": "1"})


async def test_the_requests_that_were_seen_are_answered_alike(on):
    flow = in_yaml(ASKS)
    transport = RecordingTransport(httpx.MockTransport(shop))
    execution = await executed(on, flow, {"name": "Ada"}, transport)
    used = {"shop": {"token": "stand-in-for-token-of-shop"}}
    case = case_of_exchanges(execution, transport.exchanges, used, on.runtime.services.masker)
    text = yaml_of(case, None, "a test")

    assert "t-12345678" not in text
    assert execution.id not in text
    assert case["event"] == {"body": {"name": "Ada"}, "headers": {"x-team": "A"}}
    assert case["answers"] == {
        "GET https://shop.test/items?of=Ada": {
            "json": {"lines": ["1.0", "no"], "key": "********"},
            "headers": {"x-page": "1"},
        },
        "POST https://shop.test/********": {
            "status": 201,
            "body": "two\nlines",
            "headers": {"content-type": "text/plain; charset=utf-8"},
        },
        "GET https://gone.test": {"error": "connect"},
    }
    assert case["expect"]["requests"][1] == {
        "method": "POST",
        "url": "https://shop.test/********",
        "form": {"a": "1"},
    }
    assert case["expect"]["steps"] == {"never": "skipped", "gone": "failed"}
    assert case["expect"]["output"] == {"told": "two\nlines", "of": "********", "key": "********"}
    report = await asyncio.to_thread(play_text, text, flow.program)
    assert [played.faults for played in report.played] == [[]]


async def test_the_steps_that_are_stored_give_what_they_gave(on):
    flow = in_yaml(ASKS)
    execution = await executed(on, flow, {"name": "Ada"}, httpx.MockTransport(shop))
    case = case_of_history(execution, on.runtime.services.masker)
    assert list(case["stubs"]) == ["ask", "tell", "gone"]
    assert case["stubs"]["ask"]["output"]["body"] == {"lines": ["1.0", "no"], "key": "********"}
    assert case["stubs"]["gone"]["error"]["code"] == "connection"
    assert "answers" not in case
    report = await asyncio.to_thread(play_text, yaml_of(case, "asks", "a test"), flow.program)
    assert [played.faults for played in report.played] == [[]]


@pytest.mark.parametrize("status", [404, 500])
async def test_a_failure_is_recorded_both_ways(on, status):
    steps = "steps: [{id: ask, uses: http.request, retry: {attempts: 1}, with: {url: 'https://shop.test'}}]"
    flow = in_yaml(steps)
    transport = RecordingTransport(httpx.MockTransport(answers(httpx.Response(status, json={"error": "no"}))))
    execution = await executed(on, flow, None, transport)
    masker = Masker()
    for case in (case_of_exchanges(execution, transport.exchanges, {}, masker), case_of_history(execution, masker)):
        assert (case["expect"]["status"], case["expect"]["error"]["step"]) == ("failed", "ask")
        report = await asyncio.to_thread(play_text, yaml_of(case, None, "a test"), flow.program)
        assert [played.faults for played in report.played] == [[]]


async def test_an_answer_that_came_too_late_is_recorded(on):
    steps = "steps: [{id: ask, uses: http.request, retry: {attempts: 1}, with: {url: 'https://shop.test'}}]"
    transport = RecordingTransport(httpx.MockTransport(answers(httpx.ReadTimeout("late"))))
    execution = await executed(on, in_yaml(steps), None, transport)
    case = case_of_exchanges(execution, transport.exchanges, {}, Masker())
    assert case["answers"] == {"GET https://shop.test": {"error": "timeout"}}


async def test_packed_answers_are_recorded_as_they_read(on):
    def packed(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=gzip.compress(b'{"a": 1}'), headers={"Content-Encoding": "gzip"})

    transport = RecordingTransport(httpx.MockTransport(packed))
    steps = "steps: [{id: ask, uses: http.request, with: {url: 'https://shop.test'}}]"
    execution = await executed(on, in_yaml(steps), None, transport)
    case = case_of_exchanges(execution, transport.exchanges, {}, Masker())
    assert case["answers"] == {"GET https://shop.test": {"json": {"a": 1}}}


async def test_of_a_credential_only_what_is_no_secret_is_noted():
    class ApiKeyLike(BearerToken):
        _block_type_slug = "kit-with-address"
        region: str = "eu"

    masker = Masker()
    values = {"shop": {"token": "t-12345678", "region": "us"}, "other": {"token": "t-87654321"}}
    used = UsedCredentials(MemoryCredentials(values, masker=masker))
    assert (await used.get("shop", ApiKeyLike)).reveal("token") == "t-12345678"
    await used.get("other", ApiKeyLike)
    assert used.used == {
        "shop": {"token": "stand-in-for-token-of-shop", "region": "us"},
        "other": {"token": "stand-in-for-token-of-other"},
    }


@pytest.mark.parametrize(
    "text", ["a\nb", " a\n\n  b \n", "\n\na", "a\r\nb", "---\na: {{ b }}\n#c\n", "x\x07\ny", "\u2028\n"]
)
def test_what_was_recorded_is_read_back_as_it_was(text):
    case = {
        "name": text,
        "body": {"no": "yes", "n": "0x1F", "d": "2026-01-01", "e": "", "m": " a\n\tb\n", "u": "ä😀\x85", "f": 1e20},
        "expect": {"output": [None, True, "null", "~", "1_000", "=", "<<", "- a", "#x", "a: b", "!t", "&a", "*"]},
    }
    assert read_yaml(yaml_of(case, "w", "a test")).data() == {"workflow": "w", "cases": [case]}


WAITS = """
name: waits
steps:
  - {id: paid, wait: {signal: paid, timeout: 3d}}
  - {id: decide, approve: {message: Ship?}}
  - {id: late, wait: {signal: never, timeout: 1d, on_timeout: continue}}
  - {id: told, signal: shipped, body: {a: 1}}
output: "{{ [steps.paid.output, steps.decide.output.by, steps.late.output] }}"
"""


async def test_what_came_to_steps_that_waited_is_recorded_as_replies(on):
    flow = in_yaml(WAITS)
    await on.store.answer(signal_address("paid"), {"amount": 5}, by=None, keep=60)
    execution_id = await accept_event(on.runtime, flow.program, Event())
    await run_execution(on.runtime, execution_id, flow.program)
    await run_execution(on.runtime, execution_id, flow.program)
    await on.store.answer(step_address(execution_id, "decide"), {"approved": True}, by="Ann", keep=60)
    await run_execution(on.runtime, execution_id, flow.program)
    on.clock.move(days=2)
    await on.store.wake(limit=10)
    await run_execution(on.runtime, execution_id, flow.program)
    execution = await on.store.execution(execution_id)

    case = case_of_history(execution, Masker())
    assert execution.status == "succeeded"
    assert case["replies"] == {"paid": {"amount": 5}, "decide": {"approved": True, "by": "Ann"}}
    assert case["stubs"] == {"told": {"output": {"delivered": False}}}
    report = await asyncio.to_thread(play_text, yaml_of(case, None, "a test"), flow.program)
    assert [played.faults for played in report.played] == [[]]
