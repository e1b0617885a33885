"""Files of cases: what they say, which workflow they are of, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.language.faults import DefinitionErrors
from flows.testing.cases import read_cases
from flows.testing.playing import play_file

WORKFLOW = """
name: orders
triggers: [{webhook: {auth: none}}]
steps:
  - {id: ask, uses: http.request, with: {url: "https://stock.example/items/{{ event.body.item }}"}}
  - id: lines
    for_each: event.body.lines | default([])
    steps: [{id: reserve, uses: http.request, with: {method: POST, url: "https://stock.example", json: "{{ item }}"}}]
  - {id: pause, wait: 20s}
output: {left: "{{ steps.ask.output.body.left }}", team: "{{ event.headers['x-team'] }}", at: "{{ now }}"}
"""


def read(folder: Path, cases: str, name: str = "orders.test.yaml") -> list[str]:
    """What is wrong with these cases, without the folder."""
    (folder / "orders.yaml").write_text(WORKFLOW)
    file = folder / name
    file.write_text(cases)
    with pytest.raises(DefinitionErrors) as raised:
        read_cases(file)
    told = [str(error).removeprefix(f"{folder}/") for error in raised.value.errors]
    assert all(error.column for error in raised.value.errors)
    return [re.sub(r"yaml:(\d+):\d+", r"yaml:\1", one) for one in told]


def test_a_case_says_what_comes_in_what_is_answered_and_what_is_expected(play):
    [played] = play(
        WORKFLOW,
        """
cases:
  - name: everything
    event: {body: {item: 5, lines: [{a: 1}]}, headers: {X-Team: A}, query: {q: [a, b]}}
    clock: 2026-03-01T09:00:00+01:00
    answers:
      GET https://stock.example/items/*: [{status: 503}, {json: {left: 3}, headers: {X-Page: "1"}}]
      https://stock.example: {error: connect}
    stubs: {"lines[0].reserve": {output: {reserved: true}}}
    expect:
      status: succeeded
      output: {left: 3, team: A, at: "2026-03-01T08:00:00Z"}
      requests: [GET https://stock.example/items/5, {method: get, url: https://stock.example/items/*}]
      answer: {status: 202}
      steps:
        ask: {attempts: 2, output: {body: {left: 3}, headers: {x-page: "1"}}}
        lines[0].reserve: {output: {reserved: true}}
        pause: succeeded
""",
    )
    assert played.faults == []


def test_the_workflow_is_the_one_of_the_same_name_or_a_named_one(tmp_path, time):
    (tmp_path / "flows").mkdir()
    cases = (
        "cases: [{name: a, stubs: {ask: {output: {body: {left: 1}}}}, event: {headers: {x-team: A}, body: {item: 1}}}]"
    )
    for place, text in {
        "orders.yaml": WORKFLOW,
        "orders.test.yaml": cases,
        "by-name.test.yml": f"workflow: orders\n{cases}",
        "flows/by-file.test.yaml": f"workflow: ../orders.yaml\n{cases}",
        "in_python.py": "from flows import workflow\n\n@workflow()\nasync def a(event):\n    return 1\n",
        "in_python.test.yaml": "cases: [{name: a, expect: {output: 1}}]",
        "named.test.yaml": "workflow: in_python.py:a\ncases: [{name: a, expect: {output: 1}}]",
    }.items():
        (tmp_path / place).write_text(text)
    found = sorted(tmp_path.rglob("*.test.y*ml"))
    assert len(found) == 5
    assert [report.errors for report in (play_file(file, time) for file in found) if not report.passed] == []


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ("", "orders.test.yaml:1:1: the file is empty"),
        ("[]", "orders.test.yaml:1:1: a file of cases is a mapping with cases: […]"),
        ("cases: []", "orders.test.yaml:1:1: cases: must not be empty"),
        ("cases: [{body: 1}]", "orders.test.yaml:1:9: cases[0]: missing key 'name'"),
        ("case: []\ncases: [{name: a}]", "orders.test.yaml:1:1: unknown key 'case'; did you mean 'cases'?"),
        ("workflow: order\ncases: [{name: a}]", "orders.test.yaml:1:1: workflow: unknown workflow 'order'; did you"),
        ("cases:\n  - name: a\n    bdy: 1", "orders.test.yaml:3:5: cases[0]: unknown key 'bdy'; did you mean 'body'?"),
        ("cases:\n  - name: a\n    body: 1\n    event: {}", "orders.test.yaml:2:5: cases[0]: event or body: the event"),
        (
            "cases:\n  - name: a\n    expect:\n      otput: 1",
            "orders.test.yaml:4:7: cases[0].expect: unknown key 'otput'",
        ),
        (
            "cases:\n  - name: a\n    expect:\n      status: sucess",
            "orders.test.yaml:4:7: cases[0].expect.status: expected 'succeeded', 'failed'",
        ),
        (
            "cases:\n  - name: a\n    expect:\n      requests:\n        - {metod: GET}",
            "orders.test.yaml:5:12: cases[0].expect.requests[0]: unknown key 'metod'; did you mean 'method'?",
        ),
        (
            "cases:\n  - name: a\n    expect:\n      requests: [GET]",
            "orders.test.yaml:4:18: cases[0].expect.requests[0]: expected a method and an address",
        ),
        (
            "cases:\n  - name: a\n    expect:\n      steps:\n        asq: skipped",
            "orders.test.yaml:5:9: cases[0].expect.steps: unknown step 'asq'; did you mean 'ask'?",
        ),
        (
            "cases:\n  - name: a\n    expect:\n      steps:\n        ask: {ouput: 1}",
            "orders.test.yaml:5:15: cases[0].expect.steps.ask: unknown key 'ouput'; did you mean 'output'?",
        ),
        (
            "cases:\n  - name: a\n    stubs:\n      lines[0].resreve: {}",
            "orders.test.yaml:4:7: cases[0].stubs: unknown step 'resreve'; did you mean 'reserve'?",
        ),
        (
            "cases:\n  - name: a\n    replies:\n      pauze: 1",
            "orders.test.yaml:4:7: cases[0].replies: unknown step 'pauze'; did you mean 'pause'?",
        ),
        (
            "cases:\n  - name: a\n    answers:\n      stock.example: {}",
            "orders.test.yaml:3:5: cases[0].answers: expected a method and an address, like POST https://",
        ),
        (
            "cases:\n  - name: a\n    answers:\n      GET https://a:\n        - {stauts: 1}",
            "orders.test.yaml:5:12: cases[0].answers.GET https://a[0]: unknown key 'stauts'; did you mean 'status'?",
        ),
        (
            "cases:\n  - name: a\n    answers:\n      https://a.example: {error: timeout, status: 500}",
            "orders.test.yaml:4:7: cases[0].answers.https://a.example[0]: error stands alone",
        ),
        ("cases:\n  - name: a\n    clock: 2026-03-01T09:00:00", "orders.test.yaml:3:5: cases[0].clock: "),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, cases, said):
    [fault] = read(tmp_path, cases)
    assert fault.startswith(said)


def test_cases_without_a_workflow_beside_them_are_told_what_is_missing(tmp_path):
    [fault] = read(tmp_path, "cases: [{name: a}]", "other.test.yaml")
    said = "other.test.yaml:1:1: workflow: there is no other.yaml, other.yml or other.py beside it; name it"
    assert fault == said


def test_a_wrong_workflow_is_the_files_fault(tmp_path, time):
    (tmp_path / "w.yaml").write_text("name: w\nsteps: [{id: a, uses: log.mesage}]")
    file = tmp_path / "w.test.yaml"
    file.write_text("cases: [{name: a}]")
    [error] = play_file(file, time).errors
    assert str(error).startswith(f"{tmp_path}/w.yaml:2:17: steps[0].uses: unknown action 'log.mesage'")
