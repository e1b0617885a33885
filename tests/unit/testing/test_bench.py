"""The fixture `ipaas`: runs a workflow in memory and says what became of it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from connectors import http
from flows import Event, approval, call, each, signal, sleep, step, webhook, workflow
from flows.language.faults import DefinitionErrors
from flows.language.yaml_source import load_workflow
from flows.testing import NotStubbed
from flows.testing.plugin import pytest_assertrepr_compare
from flows.testing.result import Ended
from foundation.errors import NotFound

GREET = """
name: greet
steps: [{id: say, uses: log.message, with: {text: "Hello {{ event.body.name }}"}}]
output: "{{ steps.say.output.text }}"
"""
ASK = """
name: ask
steps:
  - {id: ask, uses: http.request, with: {url: "https://stock.example/items/{{ event.body }}"}}
output: "{{ steps.ask.output.body.left }}"
"""


@workflow()
async def greet(event: Event) -> str:
    """Greets."""
    return f"Hello {event.body['name']}"


@pytest.mark.parametrize("given", [GREET, load_workflow(GREET), greet], ids=["text", "object", "python"])
def test_a_workflow_is_given_as_a_text_or_an_object(ipaas, given):
    assert ipaas.run(given, {"name": "Ada"}).output == "Hello Ada"


def test_a_workflow_is_given_as_a_file(ipaas, tmp_path):
    yaml, python = tmp_path / "greet.yaml", tmp_path / "two.py"
    yaml.write_text(GREET)
    code = "from flows import workflow\n\n@workflow()\nasync def {0}(event):\n    return '{0}'\n\n"
    python.write_text(code.format("one") + code.format("other"))
    assert ipaas.run(yaml, {"name": "Ada"}).output == "Hello Ada"
    assert ipaas.run(f"{python}:other").output == "other"
    with pytest.raises(NotFound, match=r"has one, other: say .*two\.py:NAME"):
        ipaas.run(python)


def test_a_workflow_is_given_by_its_name(ipaas):
    assert ipaas.run("hello", {"name": "Ada"}).output == {"message": "Hello Ada!"}
    with pytest.raises(NotFound, match="unknown workflow 'order-confirmt'; did you mean 'order-confirmed'"):
        ipaas.run("order-confirmt")


def test_a_changed_file_is_read_anew(ipaas, tmp_path):
    file = tmp_path / "greet.yaml"
    file.write_text(GREET)
    ipaas.run(file, {"name": "Ada"})
    file.write_text(GREET.replace("Hello", "Good morning"))
    assert ipaas.run(file, {"name": "Ada"}).output == "Good morning Ada"


def test_a_wrong_workflow_is_refused_as_by_check(ipaas):
    with pytest.raises(DefinitionErrors, match=r"unknown action 'log\.mesage'; did you mean 'log\.message'"):
        ipaas.run(GREET.replace("log.message", "log.mesage"))


def test_requests_are_answered_and_can_be_looked_at(ipaas):
    ipaas.http.get("https://stock.example/items/5").respond(json={"left": 3})
    result = ipaas.run(ASK, 5)
    [request] = result.requests
    assert (result.status, result.output) == ("succeeded", 3)
    assert (request.method, request.url, request.step) == ("GET", "https://stock.example/items/5", "ask")
    assert request.headers["user-agent"].startswith("prefect-ipaas/")
    assert (result.steps["ask"].status, result.steps["ask"].attempts) == ("succeeded", 1)


def test_what_was_sent_is_parsed(ipaas):
    ipaas.http.post("https://a.example").respond(204)
    steps = "[{id: j, uses: http.request, with: {method: POST, url: 'https://a.example', %s}}]"
    sent = [
        ipaas.run(f"name: sends\nsteps: {steps % body}\n").requests[0]
        for body in ("json: {a: [1]}", "form: {a: 1}", "body: text")
    ]
    assert (sent[0].json, sent[1].form, sent[2].body) == ({"a": [1]}, {"a": "1"}, "text")
    assert repr(sent[0]) == '<POST https://a.example {"a": [1]}>'


def test_credentials_are_plain_dicts(ipaas):
    ipaas.credentials["shop"] = {"token": "t-1"}
    ipaas.http.get("https://shop.example").respond(json={})
    steps = "[{id: a, uses: http.request, credential: shop, with: {url: 'https://shop.example'}}]"
    assert ipaas.run(f"name: asks\nsteps: {steps}\n").requests[0].headers["authorization"] == "Bearer t-1"


@pytest.mark.parametrize("on_error", ["fail", "continue"])
def test_a_request_without_an_answer_fails_the_test_whatever_the_workflow_does_about_failures(ipaas, on_error):
    ipaas.http.get("https://other.example/", name="the other one").respond(json={})
    with pytest.raises(NotStubbed) as raised:
        ipaas.run(ASK.replace("uses:", f"on_error: {on_error}, uses:"), 5)
    said = "GET https://stock.example/items/5 is not stubbed, and nothing leaves a test. Stubbed is:\n  the other one"
    assert str(raised.value) == said


def test_one_that_python_code_swallowed_fails_it_too(ipaas):
    @workflow()
    async def asks(event: Event) -> str:
        """Takes no notice of failures."""
        await asyncio.gather(http.request(url="https://stock.example/"), return_exceptions=True)
        return "fine"

    with pytest.raises(NotStubbed, match=r"GET https://stock\.example/ is not stubbed"):
        ipaas.run(asks)


def test_one_more_request_than_there_are_answers_fails_it(ipaas):
    ipaas.http.get("https://stock.example/items/5").mock(side_effect=[httpx.Response(503)])
    with pytest.raises(NotStubbed, match="asked for more often than it has answers"):
        ipaas.run(ASK, 5)


@pytest.mark.parametrize("url", ["http://stock.example/", "http://127.0.0.1:9/"])
def test_what_does_not_go_through_an_action_does_not_leave_either(ipaas, url):
    @workflow()
    async def asks(event: Event) -> int:
        """Goes its own way."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(url)).status_code

    with pytest.raises(NotStubbed, match=r"(stock\.example:80|127\.0\.0\.1:9) is not stubbed"):
        ipaas.run(asks)


def test_an_address_from_data_must_be_public_as_on_the_platform(ipaas):
    ipaas.http.get("http://169.254.169.254/").respond(text="secrets")
    steps = "[{id: a, uses: http.request, with: {url: '{{ event.body }}'}}]"
    result = ipaas.run(f"name: asks\nsteps: {steps}\n", "http://169.254.169.254/")
    assert (result.status, result.error["code"], list(result.requests)) == ("failed", "egress", [])


SIDE_BY_SIDE = """
name: waits
steps:
  - {id: a, needs: [], wait: 20s}
  - {id: b, needs: [], wait: 30s}
  - {id: c, needs: [a, b], wait: 5s}
output: "{{ now }}"
"""


def test_waiting_takes_no_time_and_moves_the_clock(ipaas):
    ipaas.clock.set(datetime(2026, 3, 1, 9, tzinfo=UTC))
    started = time.perf_counter()
    result = ipaas.run(SIDE_BY_SIDE)
    assert time.perf_counter() - started < 5
    assert (result.output, result.seconds) == ("2026-03-01T09:00:00Z", 35)
    assert ipaas.clock.now() == datetime(2026, 3, 1, 9, 0, 35, tzinfo=UTC)
    ipaas.clock.move(days=3)
    assert ipaas.clock.now() == datetime(2026, 3, 4, 9, 0, 35, tzinfo=UTC)


def test_days_of_sleep_take_no_time_either(ipaas):
    @workflow(timeout="30d")
    async def sleeps(event: Event) -> None:
        """Sleeps."""
        await asyncio.sleep(timedelta(days=3).total_seconds())

    assert ipaas.run(sleeps).seconds == 3 * 86_400


def test_timeouts_go_by_the_same_clock(ipaas):
    async def slowly(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        return httpx.Response(200)

    ipaas.http.get("https://stock.example/items/5").mock(side_effect=slowly)
    step = ipaas.run(ASK.replace("uses:", "timeout: 30s, uses:"), 5)
    assert (step.status, step.error["code"], step.steps["ask"].error["code"]) == ("failed", "timeout", "timeout")
    whole = ipaas.run(ASK.replace("steps:", "timeout: 45s\nsteps:"), 5)
    assert (whole.status, whole.seconds) == ("timed_out", pytest.approx(45, abs=0.2))


def test_what_a_thread_does_takes_real_time(ipaas):
    @workflow(timeout="30s")
    async def threads(event: Event) -> str:
        """Leaves work to a thread."""
        return await asyncio.to_thread(lambda: time.sleep(0.02) or "done")

    result = ipaas.run(threads)
    assert result.output == "done"
    assert result.seconds < 20


async def test_it_runs_in_an_async_test_too(ipaas):
    assert ipaas.run(SIDE_BY_SIDE).status == "succeeded"
    assert (await asyncio.to_thread(ipaas.run, GREET, {"name": "Ada"})).output == "Hello Ada"


HOOK = """
name: hook
input: {type: object, required: [name]}
triggers: [{webhook: {auth: none}}]
steps:
  - {id: pause, wait: "%s"}
  - {id: fails, if: event.body.name == 'Nobody', fail: Nobody is here}
output: "Hello {{ event.body.name }}"
respond: {when: finished, timeout: 5s, status: 201, headers: {X-Of: "{{ workflow.name }}"}}
"""


def test_the_answer_is_what_the_sender_gets(ipaas):
    quick, slow = HOOK % "1s", HOOK % "6s"
    found = ipaas.run(quick, {"name": "Ada"})
    assert (found.answer.status, found.answer.body, found.answer.headers) == (201, "Hello Ada", {"x-of": "hook"})
    late = ipaas.run(slow, {"name": "Ada"})
    assert (late.answer.status, late.answer.body["status"], late.status) == (202, "accepted", "succeeded")
    failed = ipaas.run(quick, {"name": "Nobody"})
    assert (failed.answer.status, failed.answer.body["detail"]) == (500, "step fails: Nobody is here")
    timed_out = ipaas.run(quick.replace("steps:", "timeout: 500ms\nsteps:", 1), {"name": "Ada"})
    assert (timed_out.answer.status, timed_out.status) == (504, "timed_out")
    refused = ipaas.run(quick, {})
    assert (refused.answer.status, refused.status) == (422, "refused")
    assert '"name" is a required property' in refused.error["message"]


def test_python_workflows_answer_too_and_one_without_a_hook_has_no_answer(ipaas):
    @workflow(triggers=[webhook(auth="none", methods=["PUT"])], respond={"when": "finished"})
    async def answers(event: Event) -> dict[str, str | None]:
        """Says how it was called."""
        return {"method": event.method, "path": event.path, "team": event.headers["x-team"], "a": event.query["a"]}

    result = ipaas.run(answers, headers={"X-Team": "A"}, query={"a": "1"})
    assert result.answer.body == {"method": "PUT", "path": "/hooks/answers", "team": "A", "a": "1"}
    assert ipaas.run(GREET, {"name": "Ada"}).answer is None


LINES = """
name: lines
steps:
  - id: lines
    for_each: event.body
    on_error: continue
    steps: [{id: reserve, uses: http.request, with: {url: "https://stock.example/{{ item }}"}}]
  - {id: never, if: "false", uses: http.request, with: {url: "https://stock.example"}}
  - {id: route, switch: event.query.x | default('a'), cases: {b: [{id: b, uses: log.message, with: {text: b}}]}}
output: "{{ steps.lines.output }}"
"""


def test_a_step_is_stubbed_and_what_it_renders_and_decides_is_not(ipaas):
    stubs = {
        "lines[0].reserve": {"output": {"left": 1}},
        "lines[1].reserve": {"error": {"code": "remote", "status": 404, "message": "no such item"}},
        "never": {"output": 1},
    }
    result = ipaas.run(LINES, ["a", "b"], stubs=stubs)
    assert result.output[0] == {"left": 1}
    assert result.output[1]["error"]["message"] == "no such item"
    assert result.steps["lines[1].reserve"].error["status"] == 404
    assert (result.steps["never"].status, list(result.requests)) == ("skipped", [])
    broken = ipaas.run(LINES.replace("{{ item }}", "{{ item.x }}"), ["a"], stubs=stubs)
    assert broken.steps["lines[0].reserve"].status == "failed"


def test_a_step_that_was_not_reached_is_skipped_and_an_unknown_one_is_named(ipaas):
    result = ipaas.run(LINES, [])
    assert (result.steps["b"].status, "b" in list(result.steps)) == ("skipped", False)
    with pytest.raises(KeyError, match="unknown step 'rout'; did you mean 'route'"):
        result.steps["rout"]


def test_what_is_said_of_a_step_that_is_not_there_is_refused(ipaas):
    for given in ("stubs", "replies"):
        with pytest.raises(NotFound, match="unknown step 'reserved'; did you mean 'reserve'"):
            ipaas.run(LINES, [], **{given: {"lines[0].reserved": {}}})


def test_a_result_reads_well(ipaas):
    assert repr(ipaas.run(GREET, {"name": "Ada"})) == (
        '<greet succeeded: "Hello Ada"; steps [<say succeeded: {"text": "Hello Ada"}>]; requests []>'
    )
    assert "failed: step say: event.body.name" in repr(ipaas.run(GREET, {})).replace("'", "")


async def test_the_history_has_every_execution_of_the_test(ipaas):
    first, second = ipaas.run(GREET, {"name": "Ada"}), ipaas.run(GREET, {})
    kept = (await ipaas.history.executions()).items
    assert [(one.id, one.status) for one in kept] == [
        (second.execution_id, "failed"),
        (first.execution_id, "succeeded"),
    ]


def test_a_run_takes_about_a_millisecond(ipaas):
    def once() -> float:
        started = time.perf_counter()
        ipaas.run(ASK, 5)
        return time.perf_counter() - started

    ipaas.http.get("https://stock.example/items/5").respond(json={"left": 3})
    assert min(once() for _ in range(30)) < 0.005


PAYMENT = """
name: payment
timeout: 10s
steps:
  - {id: rest, wait: 3d}
  - {id: paid, wait: {signal: "paid-{{ event.body }}", timeout: 7d, on_timeout: continue}}
  - {id: called_back, wait: {callback: true, timeout: 1d, on_timeout: continue}}
  - id: decide
    on_error: continue
    approve:
      message: "Ship {{ event.body }}?"
      timeout: 2d
      form: {type: object, required: [how]}
      notify: [{id: ask, uses: http.request, with: {method: POST, url: "https://team.example"}}]
  - {id: forever, if: event.body == 0, wait: {signal: never}}
output:
  - "{{ steps.paid.output }}"
  - "{{ steps.called_back.output }}"
  - "{{ steps.decide.output }}"
  - "{{ steps.decide.error.code | default(none) }}"
"""


def test_long_waits_take_no_time_and_end_by_themselves(ipaas):
    ipaas.http.post("https://team.example").respond(204)
    result = ipaas.run(PAYMENT, 7)
    assert (result.status, result.output) == ("succeeded", [None, None, None, "timeout"])
    assert result.seconds == timedelta(days=13).total_seconds()


def test_replies_come_as_soon_as_they_are_waited_for(ipaas):
    ipaas.http.post("https://team.example").respond(204)
    decision = {"approved": True, "form": {"how": "fast"}, "by": "Ann"}
    replies = {"paid": {"amount": 5}, "called_back": "yes", "decide": decision}
    result = ipaas.run(PAYMENT, 7, replies=replies)
    at = "2026-01-04T00:00:00+00:00"
    assert result.output == [{"amount": 5}, "yes", {**decision, "at": at}, None]
    assert [str(request) for request in result.requests] == ["POST https://team.example"]
    rejected = ipaas.run(PAYMENT, 7, replies={"decide": {"approved": False, "by": "Ann"}})
    assert (rejected.output[3], rejected.steps["decide"].error["message"]) == ("rejected", "rejected by Ann")
    for reply, said in (("yes", "is no decision: {approved: true or"), ({"approved": True}, "does not fit the form: ")):
        wrong = ipaas.run(PAYMENT, 7, replies={"decide": reply})
        assert said in wrong.steps["decide"].error["message"]


def test_what_nobody_replies_to_is_still_waited_for(ipaas):
    ipaas.http.post("https://team.example").respond(204)
    result = ipaas.run(PAYMENT, 0, replies={"decide": {"approved": True, "form": {"how": "slow"}}})
    assert (result.status.said, result.steps["forever"].status) == ("waiting: forever: signal never", "running")


def test_python_workflows_wait_call_and_are_stubbed_alike(ipaas):
    async def score(number: int) -> int:
        return number * 2

    @workflow()
    async def loops(event: Event) -> list[object]:
        """Does a bit of everything."""
        bodies = [(await http.request(url=f"https://a.example/{n}"))["body"] async for n in each(event.body)]
        await sleep("3d")
        approved = await approval("Ship?")
        return [bodies, await step(score, 4), await signal("paid"), approved["by"], await call("hello")]

    ipaas.http.get("https://a.example/2").respond(json="real")
    stubs = {"each[0].http.request": {"output": {"body": "stubbed"}}}
    result = ipaas.run(loops, [1, 2], stubs=stubs, replies={"signal": 5, "approval": {"approved": True, "by": "Ann"}})
    assert result.output == [["stubbed", "real"], 8, 5, "Ann", {"message": "Hello world!"}]
    assert (result.seconds, len(result.requests)) == (timedelta(days=3).total_seconds(), 1)
    assert ipaas.run(loops, []).status.said == "waiting: approval: approval"


CALLS = """
name: calls
steps:
  - {id: greet, uses: log.message, with: {text: mine}}
  - {id: sub, call: hello, with: {name: "{{ event.body }}"}}
  - {id: later, call: hello, wait: false}
output: "{{ [steps.greet.output.text, steps.sub.output.message] }}"
"""


def test_a_called_workflow_runs_too_and_only_the_callers_steps_are_stubbed(ipaas):
    result = ipaas.run(CALLS, "Ada", stubs={"greet": {"output": {"text": "stubbed"}}})
    assert (result.status, result.output) == ("succeeded", ["stubbed", "Hello Ada!"])
    stubbed = ipaas.run(CALLS, "Ada", stubs={"sub": {"output": {"message": "Moin"}}})
    assert stubbed.output == ["mine", "Moin"]
    missing = ipaas.run(CALLS.replace("hello", "helo"), "Ada")
    assert "unknown workflow 'helo'; did you mean 'hello'" in missing.error["message"]


def test_a_status_that_a_test_did_not_expect_says_why():
    failed = Ended("failed", "step ask: no such item")
    said = ["'failed' == 'succeeded'", "because of: step ask: no such item"]
    assert pytest_assertrepr_compare("==", failed, "succeeded") == said
    assert pytest_assertrepr_compare("==", Ended("succeeded"), "failed") is None
    assert pytest_assertrepr_compare("==", [1], [2]) is None
