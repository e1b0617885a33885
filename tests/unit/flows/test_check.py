"""`ipaas check`: what is found before anything runs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from connectors.kit.action import Unrendered
from connectors.kit.description import describe
from flows.language.check import check_declaration, check_files, check_together, check_workflow
from flows.language.definition import Declaration, Position
from flows.language.yaml_source import declare, load_workflow


async def post(*, channel: str, text: str, count: int = 1, tags: list[str] | None = None, credential: str) -> Any: ...


async def message(*, text: str, level: str = "info") -> Any: ...


async def template(*, template: Unrendered, data: dict[str, Any]) -> Any: ...


ACTIONS = {
    "slack.post_message": describe(
        "slack.post_message", inspect.signature(post, eval_str=True), credential_types=["slack"]
    ),
    "log.message": describe("log.message", inspect.signature(message, eval_str=True)),
    "transform.template": describe("transform.template", inspect.signature(template, eval_str=True)),
}

HEAD = "name: orders\n"
STEPS = "steps:\n  - {id: a, uses: log.message, with: {text: hi}}\n"


def faults(text: str) -> list[str]:
    """Each as `FILE:LINE: PLACE: MESSAGE`; the columns are looked at in `test_check_broken`."""
    found = check_workflow(load_workflow(text, file="w.yaml"), ACTIONS)
    return [f"{fault.file}:{fault.line}: {fault.message}" for fault in found]


def step_faults(step: str) -> list[str]:
    return faults(f"name: orders\nsteps:\n  - {step}\n")


def test_a_sound_workflow_has_no_faults() -> None:
    assert faults(HEAD + STEPS) == []


def test_an_unknown_action_names_the_nearest() -> None:
    (fault,) = step_faults("{id: a, uses: slack.post_mesage}")
    assert fault == "w.yaml:3: steps[0].uses: unknown action 'slack.post_mesage'; did you mean 'slack.post_message'?"
    (fault,) = step_faults("{id: a, uses: fax.send}")
    assert "known: log.message, slack.post_message, transform.template" in fault


def test_unknown_and_missing_arguments() -> None:
    assert step_faults("{id: a, uses: log.message, with: {txet: hi}}") == [
        "w.yaml:3: steps[0].with: log.message needs the argument 'text'",
        "w.yaml:3: steps[0].with.txet: log.message has no argument 'txet'; did you mean 'text'?",
    ]


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ("channel: [a], text: b", "with.channel"),
        ("channel: a, text: b, count: many", "with.count"),
        ("channel: a, text: b, tags: [a, {}]", "with.tags[1]"),
    ],
)
def test_literals_of_the_wrong_type(arguments, place) -> None:
    (fault,) = step_faults(f"{{id: a, uses: slack.post_message, credential: team, with: {{{arguments}}}}}")
    assert f"steps[0].{place}: expected" in fault


@pytest.mark.parametrize("arguments", ["channel: 7, text: b", 'channel: a, text: b, count: "{{ event.body }}"'])
def test_what_an_action_takes_or_only_the_run_can_tell_is_no_fault(arguments) -> None:
    assert step_faults(f"{{id: a, uses: slack.post_message, credential: team, with: {{{arguments}}}}}") == []


def test_an_argument_that_is_not_rendered_may_say_anything() -> None:
    assert step_faults('{id: a, uses: transform.template, with: {template: "{{ name }}", data: {name: x}}}') == []
    (fault,) = step_faults('{id: a, uses: transform.template, with: {template: "x", data: {name: "{{ name }}"}}}')
    assert "steps[0].with.data.name: unknown name 'name'" in fault


def test_credentials_that_are_missing_not_needed_or_in_the_wrong_place() -> None:
    (fault,) = step_faults("{id: a, uses: slack.post_message, with: {channel: a, text: b}}")
    assert fault == "w.yaml:3: steps[0]: slack.post_message needs a credential: NAME"
    (fault,) = step_faults("{id: a, uses: log.message, credential: team, with: {text: b}}")
    assert fault == "w.yaml:3: steps[0].credential: log.message takes no credential"
    fault, _ = step_faults("{id: a, uses: slack.post_message, with: {channel: a, text: b, credential: team}}")
    assert "needs a credential" in fault
    _, fault = step_faults("{id: a, uses: slack.post_message, with: {channel: a, text: b, credential: team}}")
    assert "credential stands beside with, not in it" in fault


def test_expressions_and_steps_are_checked_with_their_lines() -> None:
    text = f"""{HEAD}steps:
  - id: a
    uses: log.message
    with:
      level: info
      text: "{{{{ event.body | uper }}}}"
  - id: a
    uses: log.message
    if: steps.gone.output
    with: {{text: x}}
output: "{{{{ nope }}}}"
"""
    found = faults(text)
    assert [fault.split(": ")[0:2] for fault in found] == [
        ["w.yaml:7", "steps[0].with.text"],
        ["w.yaml:8", "steps[1].id"],
        ["w.yaml:10", "steps[1].if"],
        ["w.yaml:12", "output"],
    ]


def test_syntax_errors_show_the_expression() -> None:
    (fault,) = step_faults('{id: a, uses: log.message, with: {text: "{{ event. }}"}}')
    assert "syntax error" in fault
    assert "(in {{ event. }})" in fault


@pytest.mark.parametrize("auth", ["{scheme: githbu, credential: x}", "{scheme: hmac, credential: x, headr: X-Sign}"])
def test_schemes_and_their_options(auth) -> None:
    (fault,) = faults(f"{HEAD}triggers:\n  - webhook: {{auth: {auth}}}\n{STEPS}")
    assert fault.startswith("w.yaml:3: triggers[0].webhook.auth.")
    assert "githbu" in fault or "hmac" in fault


def test_dedupe_sees_the_event_only() -> None:
    hook = '{auth: none, dedupe: "{{ vars.x }}"}'
    (fault,) = faults(f"{HEAD}triggers:\n  - webhook: {hook}\n{STEPS}")
    assert "triggers[0].webhook.dedupe: unknown name 'vars'" in fault


@pytest.mark.parametrize("cron", ["61 * * * *", "0 9 * *", "0 0 9 * * *", "@daily", "every day at nine"])
def test_cron_lines(cron) -> None:
    (fault,) = faults(f'{HEAD}triggers:\n  - schedule: {{cron: "{cron}"}}\n{STEPS}')
    assert fault.startswith(f"w.yaml:3: triggers[0].schedule.cron: '{cron}' is not a cron line")


@pytest.mark.parametrize("timezone", ["Mars/Base", "Europe", "../etc/passwd", "''"])
def test_timezones(timezone) -> None:
    (fault,) = faults(f'{HEAD}triggers:\n  - schedule: {{cron: "0 9 * * 1-5", timezone: {timezone}}}\n{STEPS}')
    assert "unknown timezone" in fault


def test_a_good_schedule() -> None:
    assert faults(f'{HEAD}triggers:\n  - schedule: {{cron: "0 9 * * 1-5", timezone: Europe/Berlin}}\n{STEPS}') == []


def test_the_input_is_a_json_schema() -> None:
    (fault,) = faults(f"{HEAD}input:\n  type: object\n  properties:\n    a: {{type: nonsense}}\n{STEPS}")
    assert fault.startswith("w.yaml:5: input.properties.a.type: not a JSON Schema: 'nonsense'")


def test_the_patterns_of_the_input_can_be_matched_in_linear_time() -> None:
    (fault,) = faults(f"{HEAD}input:\n  properties:\n    a:\n      pattern: ^a(?=b)\n{STEPS}")
    assert fault.startswith("w.yaml:5: input.properties.a.pattern: this pattern can't be used: ")
    assert "lookaround" in fault


def test_the_input_refers_to_itself_only() -> None:
    good = "input:\n  $ref: '#/$defs/order'\n  $defs: {order: {type: object}}\n"
    assert faults(HEAD + good + STEPS) == []
    (fault,) = faults(HEAD + good.replace("#/$defs/order", "#/$defs/gone") + STEPS)
    assert fault == "w.yaml:3: input.$ref: '#/$defs/gone' is not found in this schema"
    (fault,) = faults(HEAD + good.replace("#/$defs/order", "http://127.0.0.1:9/schema.json") + STEPS)
    assert "is not found in this schema" in fault


def test_pythons_declarations_are_checked_alike() -> None:
    declaration = declare(
        Declaration,
        {
            "name": "orders",
            "triggers": [{"schedule": {"cron": "nope"}}],
            "respond": {"when": "finished", "body": "{{ item }}"},
            "input": {"type": 3},
        },
        file="w.py",
        positions={(): Position(12)},
    )
    found = [str(fault) for fault in check_declaration(declaration, ACTIONS)]
    assert [fault.split(": ")[:2] for fault in found] == [
        ["w.py:12", "triggers[0].schedule.cron"],
        ["w.py:12", "input.type"],
        ["w.py:12", "respond.body"],
    ]


def a_file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_names_and_hooks_belong_to_one_workflow(tmp_path) -> None:
    hook = "triggers:\n  - webhook: {auth: none, path: shop}\n"
    a_file(tmp_path, "a.yaml", "name: one\n" + hook + STEPS)
    a_file(tmp_path, "b.yml", "name: two\n" + hook + STEPS)
    a_file(tmp_path, "c.yaml", "name: one\n" + STEPS)
    found = list(check_files([tmp_path], ACTIONS))
    assert [(Path(fault.file).name, fault.line) for fault in found] == [("b.yml", 3), ("c.yaml", 1)]
    assert "the hook 'shop' is taken" in found[0].message
    assert "there is a workflow 'one' already" in found[1].message


def test_one_workflow_can_not_have_a_hook_twice() -> None:
    hooks = "triggers:\n  - webhook: {auth: none}\n  - webhook: {auth: none, methods: [GET]}\n"
    (fault,) = check_together([load_workflow(HEAD + hooks + STEPS)])
    assert "the hook 'orders' is taken" in fault.message


def test_every_files_faults_are_told(tmp_path) -> None:
    a_file(tmp_path, "a.yaml", "name: [\n")
    a_file(tmp_path, "b.yaml", "name: two\nsteps: []\n")
    a_file(tmp_path, "c.yaml", "name: three\nsteps:\n  - {id: a, uses: gone.gone}\n")
    found = check_files([tmp_path, tmp_path / "gone"], ACTIONS)
    assert [Path(fault.file).name for fault in found] == ["a.yaml", "b.yaml", "gone", "c.yaml"]


def test_other_kinds_of_files_bring_their_own_reader(tmp_path) -> None:
    path = a_file(tmp_path, "flows.py", "")
    read = []

    def load(file: Path) -> list[Declaration]:
        read.append(file)
        return [declare(Declaration, {"name": "mine", "triggers": [{"schedule": {"cron": "nope"}}]}, file=str(file))]

    (fault,) = check_files([tmp_path], ACTIONS, suffixes=(".py",), load=load)
    assert read == [path]
    assert "is not a cron line" in fault.message


def test_a_webhooks_when_sees_the_event_alone() -> None:
    assert when_faults("event.body.action == 'opened' and 'x-kind' in event.headers") == []
    where = "w.yaml:2: triggers[0].webhook.when: "
    assert when_faults("vars.x") == [f"{where}unknown name 'vars'; known: event (in vars.x)"]
    assert when_faults("event.body =") == [f"{where}unexpected '=' (in event.body =)"]


def test_a_workflow_can_not_watch_itself_alone() -> None:
    assert faults(f"{HEAD}triggers: [{{failure: {{of: [orders]}}}}]\n{STEPS}") == [
        "w.yaml:2: triggers[0].failure.of: a workflow does not watch its own failures: its on_failure runs then"
    ]
    assert faults(f"{HEAD}triggers: [{{failure: {{of: ['orders*']}}}}]\n{STEPS}") == []


def when_faults(when: str) -> list[str]:
    return faults(f'{HEAD}triggers: [{{webhook: {{auth: none, when: "{when}"}}}}]\n{STEPS}')


def poll_faults(poll: str) -> list[str]:
    found = faults(f"{HEAD}triggers:\n  - poll: {{every: 10m, {poll}}}\n{STEPS}")
    return [fault.removeprefix("w.yaml:3: triggers[0].poll") for fault in found]


@pytest.mark.parametrize(
    ("poll", "fault"),
    [
        ("uses: log.message, with: {text: hi}", None),
        (
            "uses: log.message, with: {text: '{{ cursor }} {{ now }}'}, items: output.x, key: item.y, cursor: output.z",
            None,
        ),
        ("uses: log.mesage", ".uses: unknown action 'log.mesage'; did you mean 'log.message'?"),
        ("uses: log.message", ".with: log.message needs the argument 'text'"),
        (
            "uses: log.message, with: {text: a, txt: b}",
            ".with.txt: log.message has no argument 'txt'; did you mean 'text'?",
        ),
        ("uses: log.message, with: {text: a}, credential: mine", ".credential: log.message takes no credential"),
        ("uses: slack.post_message, with: {channel: a, text: b}", ": slack.post_message needs a credential: NAME"),
        (
            "uses: log.message, with: {text: '{{ event.body }}'}",
            ".with.text: unknown name 'event'; known: cursor, now (in {{ event.body }})",
        ),
        (
            "uses: log.message, with: {text: a}, items: event.x",
            ".items: unknown name 'event'; known: output (in event.x)",
        ),
        (
            "uses: log.message, with: {text: a}, key: output.x",
            ".key: unknown name 'output'; known: item; it is there in respond only (in output.x)",
        ),
        (
            "uses: log.message, with: {text: a}, cursor: item.x",
            ".cursor: unknown name 'item'; known: output; it is there inside a for_each without `as` only (in item.x)",
        ),
    ],
)
def test_a_poll_is_checked_as_a_step_is(poll: str, fault: str | None) -> None:
    assert poll_faults(poll) == ([fault] if fault else [])


def test_a_called_workflow_whose_name_is_nearly_anothers_is_told() -> None:
    caller = load_workflow(
        "name: caller\nsteps:\n  - id: a\n    if: event.body\n    try: [{id: b, call: oder}]\n    catch: []\n"
        "on_failure: [{id: c, call: order}, {id: d, call: deployed-elsewhere}, {id: e, call: caller}]\n"
    )

    (fault,) = check_together([caller, load_workflow("name: order\nsteps: [{id: a, set: {b: 1}}]")])

    assert str(fault) == "5:19: steps[0].try[0].call: no workflow 'oder'; did you mean 'order'?"
