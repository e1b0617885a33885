"""A workflow in a notebook, run in its process: against stubs, and for real where it sends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.language.faults import DefinitionErrors
from flows.notebook import NotebookWorkflow, from_flow, from_yaml
from flows.on_prefect.python_source import load_python_text
from foundation.errors import ConfigurationError, IpaasError

ORDER = """
name: an-order
description: |
  Reserves, then tells.
  At length.
input: {type: object, required: [lines]}
steps:
  - id: lines
    for_each: event.body.lines
    steps:
      - {id: reserve, uses: http.request, with: {method: POST, url: https://stock.example/reserve, json: "{{ item }}"}}
  - {id: pause, wait: 20s}
  - {id: tell, uses: slack.post_message, credential: team, with: {channel: "#a", text: "{{ event.headers['x-who'] }}"}}
output: "{{ steps.lines.output | map(attribute='body') | list }}"
"""
SLACK = {"POST https://slack.com/api/chat.postMessage": {"json": {"ok": True, "ts": "1.2", "channel": "C1"}}}
RESERVED = {"POST https://stock.example/reserve": {"json": {"reserved": True}}}


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPAAS_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def order() -> NotebookWorkflow:
    return from_yaml(ORDER)


async def test_with_stubs_it_runs_as_it_would_for_real(order: NotebookWorkflow) -> None:
    ran = await order(body={"lines": [1, 2]}, headers={"X-Who": "Ada"}, stubs=RESERVED | SLACK)
    assert (ran.status, ran.output) == ("succeeded", [{"reserved": True}, {"reserved": True}])
    by_path = {step.path: step for step in ran.steps}
    assert by_path["lines[1].reserve"].input["json"] == 2
    assert by_path["tell"].input["text"] == "Ada"
    assert by_path["tell"].output["ts"] == "1.2"


async def test_waits_take_no_time_with_stubs_and_count(order: NotebookWorkflow) -> None:
    ran = await order(body={"lines": []}, headers={"x-who": "Ada"}, stubs=SLACK)
    assert ran.status == "succeeded"
    assert ran.seconds is not None
    assert 20 <= ran.seconds < 25


async def test_a_step_is_stubbed_by_its_id_or_its_path(order: NotebookWorkflow) -> None:
    ran = await order(
        body={"lines": [1, 2]},
        headers={"x-who": "Ada"},
        stubs={
            "reserve": {"output": {"body": "all"}},
            "lines[1].reserve": {"output": {"body": "second"}},
            "tell": {"error": {"message": "channel_not_found", "code": "remote", "status": 404}},
        },
    )
    assert ran.error == {"code": "remote", "message": "channel_not_found", "status": 404, "step": "tell"} | {
        "message": ran.error["message"] if ran.error else ""
    }
    assert [step.output for step in ran.steps if step.path.endswith("reserve")] == [{"body": "all"}, {"body": "second"}]


async def test_what_has_no_stub_is_not_sent(order: NotebookWorkflow) -> None:
    ran = await order(body={"lines": [1]}, stubs={})
    assert ran.status == "failed"
    assert ran.error
    assert "no stub answers POST https://stock.example/reserve" in ran.error["message"]
    assert "'lines[0].reserve'" in ran.error["message"]


@pytest.mark.parametrize(
    "stubs", [{"tell": {"json": {}}}, {"https://a.example": {"output": 1}}, {"tell": {}}, {"tell": 1}]
)
async def test_a_stub_of_another_form_is_refused(order: NotebookWorkflow, stubs: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"the stub of '.*' is a mapping with"):
        await order(body={"lines": []}, stubs=stubs)  # type: ignore[arg-type]


async def test_what_does_not_fit_is_refused(order: NotebookWorkflow) -> None:
    with pytest.raises(IpaasError, match=r'does not fit the workflow\'s input: \$: "lines" is a required property'):
        await order(body={}, stubs={})
    with pytest.raises(IpaasError, match="expected here or platform"):
        await order(body={"lines": []}, on="there")  # type: ignore[arg-type]
    with pytest.raises(IpaasError, match="stubs, headers and query are for runs here"):
        await order(body={"lines": []}, on="platform", stubs={})


async def test_a_secret_is_shown_nowhere(order: NotebookWorkflow) -> None:
    """A stand-in's own secret, which the other system echoes."""
    secret = "stand-in-token"
    echo = {"POST https://slack.com/api/chat.postMessage": {"json": {"ok": True, "ts": secret, "channel": "C1"}}}
    ran = await order(body={"lines": []}, headers={"x-who": secret}, stubs=echo)
    assert ran.status == "succeeded"
    for text in (*ran.drawing().bundle().values(), *ran.bundle().values()):
        assert secret not in text


async def test_python_runs_the_same() -> None:
    code = """
from connectors import http
from flows import Event, workflow

@workflow()
async def price(event: Event) -> float:
    return (await http.request(url="https://stock.example/price", query={"of": event.body}))["body"]["price"]
"""
    price = from_flow(load_python_text(code, "cell")["price"])
    ran = await price(body="tea", stubs={"https://stock.example/*": {"json": {"price": 3}}})
    assert ran.output == 3
    assert ran.steps[0].input == {"url": "https://stock.example/price", "query": {"of": "tea"}}


async def test_it_calls_the_notebooks_other_workflows() -> None:
    from_yaml("name: called\nsteps: [{id: a, uses: log.message, with: {text: hi}}]\noutput: '{{ event.body.x }}'")
    caller = from_yaml("name: caller\nsteps: [{id: a, call: called, with: {x: 7}}]\noutput: '{{ steps.a.output }}'")
    ran = await caller()
    assert ran.output == 7
    assert [(step.path, step.input) for step in ran.steps] == [("a", None)]


async def test_what_waits_for_somebody_is_given_back_as_it_waits() -> None:
    ran = await from_yaml("name: asks\nsteps: [{id: ask, approve: {message: Sure?}}]")(stubs={})
    assert (ran.status, ran.seconds) == ("waiting", None)
    assert "‖ waiting" in ran.picture.draw("text")


async def test_executions_are_a_table(order: NotebookWorkflow) -> None:
    await order(body={"lines": []}, headers={"x-who": "<b>"}, stubs=SLACK)
    await order(body={"lines": [1]}, stubs={})
    table = from_yaml(ORDER).executions()  # of a cell that was run again
    assert [table[number]["status"] for number in (0, 1)] == ["failed", "succeeded"]
    assert len(order.executions(limit=1)) == 1
    assert "<table" in table.bundle()["text/html"]
    assert table.bundle()["text/plain"].splitlines()[0].split() == [
        *("execution", "where", "status", "accepted", "took", "error")
    ]


def test_what_is_wrong_with_it_is_told_with_its_line() -> None:
    with pytest.raises(DefinitionErrors) as found:
        from_yaml("name: x\nsteps:\n  - {id: a, uses: log.mesage}\n  - {id: b, uses: log.message, with: {txt: x}}\n")
    assert [fault.line for fault in found.value.errors] == [3, 4, 4]


def test_without_a_platform_a_deploy_says_so(order: NotebookWorkflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(ConfigurationError, match="start the platform with `ipaas up`"):
        order.deploy()
    assert list(Path.cwd().iterdir()) == []
