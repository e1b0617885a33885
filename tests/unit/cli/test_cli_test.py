"""`ipaas test`, and the cases that `ipaas run --record` and `ipaas executions record` write."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from xml.etree.ElementTree import parse

import pytest

from flows.history import NewExecution, Status, StepExecution, Trigger
from flows.on_prefect.compile import yaml_version
from foundation.ids import new_id

GREET = """
name: greet
steps: [{id: say, uses: log.message, with: {text: "Hello {{ event.body.name }}"}}]
output: "{{ steps.say.output.text }}"
"""
CASES = """
cases:
  - {name: Ada is greeted, body: {name: Ada}, expect: {output: Hello Ada}}
  - name: Eve is not
    body: {name: Eve}
    expect:
      output: Go away
"""


@pytest.fixture
def cases(file):
    file("greet.yaml", GREET)
    return file("greet.test.yaml", CASES)


def test_a_folders_cases_run_and_a_failing_one_says_what_differs(ipaas, cases, home):
    outcome = ipaas("test")
    assert outcome.code == 1
    lines = [line.rstrip() for line in outcome.out.splitlines()]
    assert lines[:6] == [
        "greet.test.yaml",
        "  ok      Ada is greeted",
        "  FAILED  Eve is not",
        "            expect.output  (greet.test.yaml:7)",
        '              expected  "Go away"',
        '              got       "Hello Eve"',
    ]
    assert lines[6].startswith("1 failed, 1 passed in ")
    assert not home.exists()


def test_cases_are_named_by_their_file_or_their_workflows(ipaas, cases, file):
    cases.write_text(CASES.replace("Go away", "Hello Eve"))
    file("other.test.yaml", "workflow: nowhere\ncases: [{name: a}]")
    for path in ("greet.yaml", "greet.test.yaml"):
        outcome = ipaas("test", path)
        assert (outcome.code, outcome.out.splitlines()[-1].partition(" in ")[0]) == (0, "2 passed")


def test_the_results_are_one_json_document(ipaas, cases, file):
    file("broken.test.yaml", "workflow: greet\ncases: [{nam: a}]")
    outcome = ipaas("test", "--json")
    broken, greet = outcome.document["files"]
    assert (outcome.code, outcome.document["passed"]) == (1, False)
    assert [error["message"] for error in broken["errors"]] == [
        "cases[0]: missing key 'name'",
        "cases[0]: unknown key 'nam'; did you mean 'name'?",
    ]
    assert [(case["name"], case["passed"]) for case in greet["cases"]] == [
        ("Ada is greeted", True),
        ("Eve is not", False),
    ]
    [fault] = greet["cases"][1]["faults"]
    assert fault == {"place": "expect.output", "line": 7, "message": 'expected  "Go away"\ngot       "Hello Eve"'}


def test_the_results_are_junit_too(ipaas, cases, file, tmp_path):
    file("broken.test.yaml", "workflow: greet\ncases: 5")
    cases.write_text(CASES.replace("Eve is not", r'"Eve & <b>\x01"'))
    assert ipaas("test", "--junit", "report.xml").code == 1
    root = parse(tmp_path / "report.xml").getroot()
    assert [root.get(count) for count in ("tests", "failures", "errors")] == ["3", "1", "1"]
    broken, greet = root
    assert broken.find("testcase/error").text == "broken.test.yaml:2:1: cases: expected a list, got 5"
    assert [case.get("name") for case in greet] == ["Ada is greeted", "Eve & <b>\ufffd"]
    assert greet.find("testcase/failure").text == 'expect.output\n  expected  "Go away"\n  got       "Hello Eve"'


def test_nothing_to_test_is_not_a_success(ipaas, file):
    file("greet.yaml", GREET)
    assert "no cases in .: they stand in NAME.test.yaml beside a workflow" in ipaas("test").err
    outcome = ipaas("test", "greet.yaml")
    assert (outcome.code, "greet.yaml has no cases: there is no greet.test.yaml" in outcome.err) == (1, True)
    assert ipaas("test", "gone").code == 2
    assert ipaas("test", "--watch", "--json").code == 2


def test_what_changes_is_tested_again(ipaas, cases, monkeypatch, file):
    edits = iter([("greet.test.yaml", CASES.replace("Go away", "Hello Eve")), ("greet.yaml", GREET + "#"), None])

    def edit(seconds):
        if (edited := next(edits)) is None:
            raise KeyboardInterrupt
        later = os.stat(file(*edited)).st_mtime + 10
        os.utime(edited[0], (later, later))

    monkeypatch.setattr(sys.modules["ipaas.cli.cases"], "sleep", edit)
    outcome = ipaas("test", "--watch")
    sums = [line.partition(" in ")[0] for line in outcome.out.splitlines() if " passed in " in line]
    assert (outcome.code, sums) == (130, ["1 failed, 1 passed", "2 passed", "2 passed"])


def test_cases_are_no_workflows(ipaas, cases):
    assert ipaas("check", ".").code == 0
    assert ipaas("check", "greet.yaml", "greet.test.yaml").code == 0


class Stock(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"left": 3}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def stock() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Stock) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


ASK = """
name: ask
steps: [{id: ask, uses: http.request, with: {url: "%s/items/{{ event.body }}"}}]
output: {left: "{{ steps.ask.output.body.left }}", of: "{{ execution.id }}"}
"""


def test_a_local_run_is_recorded_and_passes_without_the_network(ipaas, file, stock):
    file("ask.yaml", ASK % stock)
    outcome = ipaas("run", "ask.yaml", "--local", "--body", "-", "--record", "ask.test.yaml", stdin="5")
    assert (outcome.code, outcome.document["status"]) == (0, "succeeded")
    assert "recorded: ask.test.yaml; played, it passes" in outcome.err
    assert ipaas("test").out.startswith("ask.test.yaml\n  ok      as on 20")
    again = ipaas("run", "ask.yaml", "--local", "--record", "ask.test.yaml")
    assert (again.code, "ask.test.yaml exists: record to another file" in again.err) == (1, True)


def test_what_is_not_the_same_each_time_is_said(ipaas, file, tmp_path):
    file(
        "dice.py",
        "import os\nfrom flows import workflow\n\n@workflow()\nasync def dice(e):\n    return os.urandom(9).hex()\n",
    )
    outcome = ipaas("run", "dice.py", "--local", "--record", "diced.test.yaml")
    assert outcome.code == 0
    assert (
        "recorded: diced.test.yaml; played, it differs, so edit what is not the same each time:\n  expect.output"
        in (outcome.err)
    )
    assert "workflow: dice.py:dice\n" in (tmp_path / "diced.test.yaml").read_text()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--record", "a.test.yaml", "--dry-run"], 2, "a dry run gets no answers"),
        (["--record", "a.yaml", "--local"], 1, "a.yaml: cases stand in a file that ends in .test.yaml"),
        (["--record", "gone/a.test.yaml", "--local"], 1, "there is no folder gone"),
    ],
)
def test_where_no_case_can_be_written_nothing_runs(ipaas, file, options, code, said):
    file("greet.yaml", GREET)
    outcome = ipaas("run", "greet.yaml", *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err


@pytest.fixture
def executed(in_history, file):
    """An ended execution's id, and one's that has not."""
    published = yaml_version(file("ask.yaml", ASK % "https://stock.example"))
    ended, accepted = new_id(), new_id()

    async def fill(store):
        await store.publish(published)
        for one in (ended, accepted):
            event = {"body": 5, "headers": {}, "query": {}}
            at = datetime(2026, 3, 1, 9, tzinfo=UTC)
            await store.accept([NewExecution(one, "ask", published.version, Trigger.WEBHOOK, event, at)])
        begun = await store.begin(ended, flow_run_id=None, owner="me", lease=60)
        output = {"status": 200, "headers": {}, "body": {"left": 3}}
        await store.save_steps(begun.hold, [StepExecution("ask", "http.request", Status.SUCCEEDED, output=output)])
        await store.finish(begun.hold, Status.SUCCEEDED, output={"left": 3, "of": ended})

    in_history(fill)
    return ended, accepted


def test_an_execution_is_recorded_with_what_its_steps_gave(ipaas, executed, tmp_path):
    ended, accepted = executed
    outcome = ipaas("executions", "record", ended)
    assert outcome.code == 0
    assert "stubs:\n      ask:\n        output:\n          status: 200\n" in outcome.out
    assert outcome.err == "recorded: the case; played, it passes\n"
    assert ipaas("executions", "record", ended, "--output", "ask.test.yaml").code == 0
    assert ipaas("test").code == 0
    assert "has not ended: accepted" in ipaas("executions", "record", accepted).err
    assert ipaas("executions", "record", "none").code == 1
