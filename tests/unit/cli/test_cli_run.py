"""`ipaas run --local` and `--dry-run`, on files."""

from __future__ import annotations

import json

import pytest

GREET = """
name: greet
input: {type: object, required: [name]}
steps:
  - id: say
    uses: log.message
    with: {text: "Hello {{ event.body.name }} of {{ event.headers['x-team'] | default('nobody') }}"}
output: "{{ steps.say.output.text }}"
"""
SENDS = """
name: sends
steps:
  - id: ask
    uses: http.request
    credential: any-bearer
    with:
      method: POST
      url: https://stock.example/items?team=a
      headers: {Cookie: "literal", X-Fine: "fine"}
      json: {amount: "{{ event.body.amount }}"}
  - id: tell
    if: steps.ask.output.body.left > 3
    uses: slack.post_message
    credential: team-slack
    with:
      channel: "#stock"
      text: "{{ steps.ask.output.body.items[0].name | upper }}: {{ steps.ask.output.body.left * 2 }}"
  - {id: weather, uses: openweather.current_weather, credential: ow, with: {city: Berlin}}
  - {id: discord, uses: discord.post_message, credential: dc, with: {content: "{{ steps.weather.output.city }}"}}
  - {id: never, if: event.body.amount > 100, uses: log.message, with: {text: x}}
output: {channel: "{{ steps.tell.output.channel }}"}
"""
CODE = '''
from connectors import openweather, slack
from flows import Event, workflow

@workflow()
async def frost(event: Event) -> dict:
    """Warns of frost."""
    weather = await openweather.current_weather(city="Berlin", credential="ow")
    if weather["temperature"] - 1 < 0:
        posted = await slack.post_message(channel="#a", text=f"{weather['temperature']} °C", credential="s")
        return {"ts": posted["ts"]}
    return {"ts": None}

@workflow()
async def other(event: Event) -> str:
    """Another one."""
    return "other"
'''


def test_a_file_runs_here_and_is_printed_as_the_api_gives_it(ipaas, file, home):
    path = file("greet.yaml", GREET)
    document = ipaas("run", str(path), "--local", "--body", "-", stdin='{"name": "Ada"}').document
    assert document["output"] == "Hello Ada of nobody"
    assert (document["workflow"], document["status"], document["trigger"]) == ("greet", "succeeded", "manual")
    assert [(step["id"], step["attempts"]) for step in document["steps"]] == [("say", 1)]
    assert not home.exists()


def test_an_event_is_given_whole(ipaas, file):
    event = file("event.json", json.dumps({"body": {"name": "Ada"}, "headers": {"X-Team": "A"}}))
    path = file("greet.yaml", GREET)
    assert ipaas("run", str(path), "--local", "--event", str(event)).document["output"] == "Hello Ada of A"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ('{"hedders": {}}', "unknown key 'hedders'; did you mean 'headers'?"),
        ('{"headers": 5}', "headers: "),
        ("[]", "an event is a JSON object"),
        ("{", "is not JSON: line 1, column 2"),
    ],
)
def test_an_event_that_is_none_is_refused(ipaas, file, event, said):
    outcome = ipaas("run", str(file("greet.yaml", GREET)), "--local", "--event", "-", stdin=event)
    assert (outcome.code, outcome.out) == (1, "")
    assert said in outcome.err


def test_a_body_that_does_not_fit_the_input_is_refused(ipaas, file):
    outcome = ipaas("run", str(file("greet.yaml", GREET)), "--local", "--body", "-", stdin="{}")
    assert outcome.code == 1
    assert '"name" is a required property' in outcome.err


def test_a_file_without_local_says_what_to_do(ipaas, file):
    path = file("greet.yaml", GREET)
    outcome = ipaas("run", str(path))
    assert outcome.code == 1
    assert f"run it with --local, or `ipaas deploy {path}` first" in outcome.err


def test_a_broken_file_is_named_with_its_line(ipaas, file):
    outcome = ipaas("run", str(file("w.yaml", "name: w\nsteps: [{id: a, uses: log.mesage}]")), "--local")
    assert outcome.code == 1
    assert "w.yaml:2:17: steps[0].uses: unknown action 'log.mesage'; did you mean 'log.message'?" in outcome.err


def test_a_failure_is_printed_too_and_is_exit_code_1(ipaas, file):
    steps = "[{id: a, uses: http.request, with: {url: 'ftp://x'}}]"
    outcome = ipaas("run", str(file("w.yaml", f"name: w\nsteps: {steps}")), "--local", "--json")
    assert outcome.code == 1
    assert outcome.document["status"] == "failed"
    assert outcome.document["error"]["step"] == "a"
    assert "the URL must begin with http" in outcome.err


def test_a_local_run_ends_at_its_timeout(ipaas, file):
    code = "import asyncio\nfrom flows import workflow\n\n@workflow(timeout='50ms')\nasync def slow(event):\n    "
    outcome = ipaas("run", str(file("slow.py", code + "await asyncio.sleep(60)\n")), "--local")
    assert outcome.code == 1
    assert outcome.document["status"] == "timed_out"
    assert outcome.document["error"]["message"] == "the execution took longer than its timeout of 0.05 s"


def test_a_step_that_needs_a_credential_fails_without_a_platform(ipaas, file):
    steps = "[{id: a, uses: slack.post_message, credential: s, with: {channel: c, text: t}}]"
    outcome = ipaas("run", str(file("w.yaml", f"name: w\nsteps: {steps}")), "--local")
    assert outcome.code == 1
    assert "start the platform with `ipaas up`" in outcome.document["error"]["message"]


def test_a_dry_run_shows_what_each_step_would_send(ipaas, file, home):
    outcome = ipaas("run", str(file("s.yaml", SENDS)), "--dry-run", "--json", "--body", "-", stdin='{"amount": 5}')
    steps = {step["id"]: step for step in outcome.document["steps"]}
    assert outcome.code == 0
    assert steps["ask"]["would_send"]["url"] == "https://stock.example/items?team=a"
    assert steps["ask"]["would_send"]["body"] == {"amount": 5}
    assert steps["ask"]["would_send"]["headers"]["authorization"] == "********"
    assert steps["ask"]["would_send"]["headers"]["cookie"] == "********"
    assert steps["ask"]["would_send"]["headers"]["x-fine"] == "fine"
    assert steps["tell"]["would_send"]["body"]["text"] == "<ask.output.body.items.0.name>: <ask.output.body.left>"
    assert "q=Berlin&units=metric&appid=********" in steps["weather"]["would_send"]["url"]
    assert steps["discord"]["would_send"]["body"] == {"content": "<weather.output.city>"}
    assert (steps["never"]["status"], steps["never"]["would_send"]) == ("skipped", None)
    assert outcome.document["output"] == {"channel": "<tell.output.channel>"}
    assert "stand-in" not in outcome.out
    assert not home.exists()


def test_a_dry_run_is_readable(ipaas, file):
    out = ipaas("run", str(file("s.yaml", SENDS)), "--dry-run", "--body", "-", stdin='{"amount": 5}').out
    assert "tell  slack.post_message  would send\n  POST https://slack.com/api/chat.postMessage\n" in out
    assert "never  log.message  skipped" in out


def test_a_python_workflow_runs_dry_as_well(ipaas, file):
    document = ipaas("run", f"{file('frost.py', CODE)}:frost", "--dry-run", "--json").document
    sent = [step["would_send"]["url"].partition("?")[0] for step in document["steps"]]
    assert sent == ["https://api.openweathermap.org/data/2.5/weather", "https://slack.com/api/chat.postMessage"]
    text = document["steps"][1]["would_send"]["body"]["text"]
    assert text == "<openweather.current_weather.output.temperature> °C"


def test_of_several_workflows_in_a_file_one_is_named(ipaas, file):
    path = file("frost.py", CODE)
    assert ipaas("run", f"{path}:other", "--local").document["output"] == "other"
    assert "has several workflows: say" in ipaas("run", str(path), "--local").err
    assert "has no workflow none; it has frost, other" in ipaas("run", f"{path}:none", "--local").err


BLOCKS = """
name: blocks
steps:
  - {id: ask, uses: http.request, with: {url: "https://remote.test/a"}}
  - id: lines
    for_each: steps.ask.output.body.lines
    steps: [{id: tell, uses: http.request, with: {url: "https://remote.test/{{ item.id }}"}}]
  - id: route
    switch: steps.ask.output.body.kind
    cases: {DE: [{id: de, uses: http.request, with: {url: "https://remote.test/de"}}]}
  - id: poll
    repeat: {until: steps.again.output.body.done}
    steps: [{id: again, uses: http.request, with: {url: "https://remote.test/p"}}]
"""


def test_a_dry_run_goes_into_blocks_that_depend_on_what_was_not_sent(ipaas, file):
    document = ipaas("run", str(file("b.yaml", BLOCKS)), "--dry-run", "--json").document
    sent = {step["id"]: step["would_send"]["url"] for step in document["steps"] if step["would_send"]}
    assert list(sent) == ["ask", "lines[0].tell", "de", "poll[0].again"]
    assert "ask.output.body.lines.0.id" in sent["lines[0].tell"]
