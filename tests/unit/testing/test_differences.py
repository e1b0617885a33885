"""What a failing case prints: where, what was expected, what came."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from flows.testing.playing import Played

SENDS = """
name: sends
triggers: [{webhook: {auth: none}}]
steps:
  - id: a
    uses: http.request
    with: {method: POST, url: "https://a.example/x?page=1&page=2", json: "{{ event.body }}"}
  - {id: b, if: event.body.more | default(false), uses: http.request, with: {url: "https://b.example"}}
output: "{{ event.body }}"
respond: {when: finished}
"""
CASE = """
cases:
  - name: a case
    body: {name: Ada, lines: [1, 2], flag: true}
    answers: {"*": {json: {ok: true}}}
    expect: %s
"""


def said(played: Sequence[Played]) -> list[str]:
    [one] = played
    return ["\n".join((fault.place, *fault.said)) for fault in one.faults]


@pytest.mark.parametrize(
    ("expect", "differences"),
    [
        ("{}", []),
        ("{output: {name: Ada, lines: [1, 2], flag: true}}", []),
        ("{output: {name: '********', lines: [1, 2], flag: true}}", []),
        (
            "{output: {name: Eve, lines: [1], more: 1}}",
            [
                'expect.output.name\nexpected  "Eve"\ngot       "Ada"',
                "expect.output.lines[1]\nexpected  nothing\ngot       2",
                "expect.output.more\nexpected  1\ngot       nothing",
                "expect.output.flag\nexpected  nothing\ngot       true",
            ],
        ),
        (
            "{output: {name: Ada, lines: 3, flag: 1}}",
            [
                "expect.output.lines\nexpected  3\ngot       [1, 2]",
                "expect.output.flag\nexpected  1\ngot       true",
            ],
        ),
        ("{status: failed}", ["expect.status\nexpected  failed\ngot       succeeded"]),
        ("{error: no such}", ['expect.error\nexpected  "no such"\ngot       nothing']),
        (
            "{answer: {status: 201, body: {name: Ada}}}",
            [
                "expect.answer.status\nexpected  201\ngot       200",
                "expect.answer.body.lines\nexpected  nothing\ngot       [1, 2]",
                "expect.answer.body.flag\nexpected  nothing\ngot       true",
            ],
        ),
        (
            "{steps: {b: succeeded, a: {attempts: 2, output: {body: {ok: false}}}}}",
            [
                "expect.steps.b.status\nexpected  succeeded\ngot       skipped",
                "expect.steps.a.output.body.ok\nexpected  false\ngot       true",
                "expect.steps.a.attempts\nexpected  2\ngot       1",
            ],
        ),
    ],
)
def test_values(play, expect, differences):
    assert said(play(SENDS, CASE % expect)) == differences


POSTED = '<POST https://a.example/x?page=1&page=2 {"name": "Ada", "lines": [1, 2], "flag": true}>'


@pytest.mark.parametrize(
    ("requests", "differences"),
    [
        ("[POST https://a.example/x]", []),
        ("[{url: https://*.example/*, json: {name: Ada}, query: {page: ['1', '2']}}]", []),
        ("[{headers: {Content-Type: application/json}, query: {page: '2'}}]", []),
        ("[]", [f"expect.requests\nexpected  no further request\ngot       {POSTED}"]),
        (
            "[{method: POST, url: https://a.example/x, json: {name: Eve, lines: [1, 2]}}]",
            ['expect.requests[0].json.name\nexpected  "Eve"\ngot       "Ada"'],
        ),
        (
            "[POST https://a.example/x, GET https://b.example]",
            ["expect.requests[1]\nexpected  GET https://b.example\ngot       nothing more was sent"],
        ),
        (
            "[{url: https://b.example, json: {a: 1}}]",
            [
                f'expect.requests[0]\nexpected  any request https://b.example {{"a": 1}}\ngot       instead {POSTED}',
                f"expect.requests\nexpected  no further request\ngot       {POSTED}",
            ],
        ),
        (
            "[{url: 'https://a.example/x?page=1'}]",
            [
                f"expect.requests[0]\nexpected  any request https://a.example/x?page=1\ngot       instead {POSTED}",
                f"expect.requests\nexpected  no further request\ngot       {POSTED}",
            ],
        ),
    ],
)
def test_requests(play, requests, differences):
    assert said(play(SENDS, CASE % f"{{requests: {requests}}}")) == differences


def test_requests_that_are_not_in_order(play):
    cases = CASE.replace("flag: true", "more: true") % "{requests: [GET https://b.example]}"
    [fault] = said(play(SENDS, cases))
    assert fault.startswith(
        "expect.requests[0]\nexpected  GET https://b.example next\ngot       before it <POST https://a"
    )


def test_a_long_text_is_marked_where_it_parts(play):
    cases = CASE.replace("{name: Ada", "{name: 'Order 7 of Ada is confirmed'")
    [fault] = said(play(SENDS, cases % "{requests: [{json: {name: 'Order 7 of Eva is confirmed'}}]}"))
    assert fault.splitlines()[1:] == [
        'expected  "Order 7 of Eva is confirmed"',
        'got       "Order 7 of Ada is confirmed"',
        "                      ^",
    ]


def test_a_failed_execution_says_why_and_not_that_its_output_is_missing(play):
    cases = CASE.replace("{json: {ok: true}}", "{status: 404, body: gone}") % "{output: 1}"
    [fault] = said(play(SENDS, cases))
    assert fault.startswith("expect.status\nexpected  succeeded\ngot       failed: step a: POST a.example answered 404")


def test_a_request_that_is_not_stubbed_is_named(play):
    cases = CASE.replace('"*"', '"GET https://b.example/*"') % "{}"
    assert said(play(SENDS, cases)) == [
        "answers\nPOST https://a.example/x?page=1&page=2 is not stubbed, and nothing leaves a test. Stubbed is:\n"
        "  GET https://b.example/*"
    ]


def test_the_line_is_that_of_the_expectation(play):
    text = "cases:\n  - name: a\n    body: {}\n    answers: {'*': {}}\n    expect:\n      output:\n        x: 1\n"
    [played] = play(SENDS, text)
    assert [(fault.place, fault.line) for fault in played.faults] == [("expect.output.x", 7)]
