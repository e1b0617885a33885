"""What `ipaas check` says of broken steps of every kind: the line, the place, and what would be right."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from connectors.kit.description import describe
from flows.language.check import check_workflow
from flows.language.faults import DefinitionErrors
from flows.language.yaml_source import load_workflow


async def message(*, text: str, level: str = "info") -> Any: ...


ACTIONS = {"log.message": describe("log.message", inspect.signature(message, eval_str=True))}


def faults(text: str) -> list[str]:
    """What is wrong, each as `LINE: PLACE: MESSAGE`; the columns are looked at in `test_check_broken`."""
    try:
        found = check_workflow(load_workflow("name: w\n" + text), ACTIONS)
    except DefinitionErrors as errors:
        found = list(errors.errors)
    return [f"{fault.line}: {fault.message}" for fault in found]


SOUND = """\
steps:
  - id: start
    set: {n: 1}
  - id: lines
    for_each: event.body.items
    as: line
    concurrency: 5
    tolerate: 5%
    steps:
      - id: parts
        for_each: line.parts
        steps:
          - id: check
            uses: log.message
            with: {text: "{{ line.id }} {{ item }} {{ index }} {{ steps.start.output.n }}"}
      - id: after
        if: steps.parts.output | length > 0
        uses: log.message
        with: {text: "{{ steps.parts.output[0].text }}"}
  - id: each
    for_each: [1, "{{ event.body.n }}"]
    uses: log.message
    with: {text: "{{ item }}"}
    retry: {attempts: 2}
    collect: false
    on_error: continue
  - id: poll
    repeat: {until: steps.ask.output.text == 'done' or index > 3, every: 30s, limit: 10}
    steps: [{id: ask, uses: log.message, with: {text: "{{ index }}"}}]
  - id: route
    switch: event.body.country
    cases:
      DE: [{id: de, set: {a: "{{ steps.lines.output }}"}}]
      NO: []
    default: [{id: other, wait: 20s}]
  - id: guard
    try: [{id: risky, uses: log.message, with: {text: "{{ steps.de.status }}"}}]
    catch: [{id: sorry, fail: "{{ error.message }} {{ steps.risky.status }}", code: risky_failed}]
    finally: [{id: clean, set: {a: "{{ steps.risky.status }} {{ steps.sorry.status }}"}}]
  - id: halt
    if: steps.guard.status == 'failed'
    stop: {output: {x: "{{ steps.clean.output.a }}"}}
  - id: last
    needs: [route]
    set: {a: "{{ steps.other.status }}"}
output: "{{ steps.clean.output }} {{ steps.de.status }}"
on_failure:
  - id: alert
    uses: log.message
    with: {text: "{{ error.step }} {{ error.code }} {{ error.status }} {{ steps.de.status }}"}
"""


def test_a_workflow_of_all_kinds_has_no_faults() -> None:
    assert faults(SOUND) == []


NOTE = "set: {a: 1}"
BROKEN = {
    # One kind a step
    "no kind": ("- id: a", "3: steps[0]: what does it do? A step has one of uses, set, for_each, repeat, switch, try"),
    "a typo": ("- {id: a, swich: x, cases: {}}", "3: steps[0]: unknown key 'swich'; did you mean 'switch'?"),
    "another typo": ("- id: a\n    foreach: x", "3: steps[0]: unknown key 'foreach'; did you mean 'for_each'?"),
    "two kinds": ("- {id: a, set: {a: 1}, wait: 1s}", "3: steps[0]: set and wait: a step does one thing"),
    "three kinds": ("- {id: a, uses: log.message, stop: {}, fail: x}", "3: steps[0]: uses and stop and fail: a step"),
    "a key of another kind": ("- {id: a, set: {a: 1}, retry: {}}", "3: steps[0]: unknown key 'retry'; known keys: id"),
    "no mapping": ("- wait", "3: steps[0]: expected a step: a mapping with an id"),
    "no id": ("- set: {a: 1}", "3: steps[0]: missing key 'id'"),
    # set, stop, fail, wait
    "nothing set": ("- {id: a, set: {}}", "3: steps[0].set: must not be empty"),
    "a set list": ("- {id: a, set: [1]}", "3: steps[0].set: expected a mapping, got a list"),
    "an expression in set": (
        '- id: a\n    set:\n      b: 1\n      c: "{{ evnt.body }}"',
        "6: steps[0].set.c: unknown name 'evnt'; did you mean 'event'?",
    ),
    "a key of stop": ("- {id: a, stop: {outptu: 1}}", "3: steps[0].stop: unknown key 'outptu'; did you mean 'output'?"),
    "no message": ("- {id: a, fail: ''}", "3: steps[0].fail: "),
    "a code": ("- {id: a, fail: x, code: Not Found}", "3: steps[0].code: 'Not Found' is not a code: lowercase letters"),
    "a wait for ever": ("- {id: a, wait: 366d1h}", "3: steps[0].wait: expected a duration like 30s or 5m"),
    "a negative wait": ("- {id: a, wait: -1s}", "3: steps[0].wait: expected a duration like 30s or 5m, got '-1s'"),
    "a wait for nothing": ("- {id: a, wait: {timeout: 3d}}", "3: steps[0].wait: what does it wait for?"),
    "a wait for two things": (
        "- {id: a, wait: {signal: x, callback: true}}",
        "3: steps[0].wait: a wait is for one of until, signal and callback",
    ),
    "an unknown key of a wait": ("- {id: a, wait: {signl: x}}", "3: steps[0].wait: unknown key 'signl'; did you mean"),
    "a wait for no instant": ("- id: a\n    wait:\n      until: x", "5: steps[0].wait.until: expected an instant like"),
    "a timeout of an instant": (
        "- {id: a, wait: {until: 2026-01-01, timeout: 1h}}",
        "3: steps[0].wait: timeout belongs to signal and callback",
    ),
    "an expression of a signal": (
        "- id: a\n    wait:\n      signal: '{{ evnt.id }}'",
        "5: steps[0].wait.signal: unknown name 'evnt'; did you mean 'event'?",
    ),
    "a form that is none": (
        "- id: a\n    approve:\n      message: x\n      form: {type: objct}",
        "6: steps[0].approve.form.type: not a JSON Schema",
    ),
    "an approval of nothing": ("- {id: a, approve: {timeout: 3d}}", "3: steps[0].approve: missing key 'message'"),
    "a fault in notify": (
        "- id: a\n    approve:\n      message: x\n      notify: [{id: b, wat: 1}]",
        "6: steps[0].approve.notify[0]: unknown key 'wat'; did you mean 'wait'?",
    ),
    "a call of no name": ("- {id: a, call: Other}", "3: steps[0].call: 'Other'"),
    "an argument of a call": (
        "- id: a\n    call: other\n    with: {x: '{{ item }}'}",
        "5: steps[0].with.x: unknown name 'item'",
    ),
    "after an end": (
        "- {id: a, stop: {}}\n  - {id: b, set: {a: 1}}",
        "4: steps[1]: never runs: 'a', which it waits for, ends its block always",
    ),
    # switch
    "no cases": ("- {id: a, switch: x}", "3: steps[0]: missing key 'cases': a block for each value"),
    "empty cases": ("- {id: a, switch: event.body, cases: {}}", "3: steps[0].cases: must not be empty"),
    "a case that is no block": (
        "- id: a\n    switch: event.body\n    cases:\n      DE: {id: b}",
        "6: steps[0].cases.DE: expected a list, got a mapping",
    ),
    "a switch in braces": (
        '- {id: a, switch: "{{ event.body }}", cases: {a: []}}',
        "3: steps[0].switch: a bare expression is expected here: leave out the {{ }}",
    ),
    "a step of another case": (
        "- id: a\n    switch: event.body\n    cases:\n      x: [{id: b, set: {a: 1}}]\n"
        '      y: [{id: c, set: {a: "{{ steps.b.output }}"}}]',
        "7: steps[0].cases.y[0].set.a: step 'b' is not seen here: a step sees what ended before it",
    ),
    # try
    "a try for nothing": ("- id: a\n    try: [{id: b, set: {a: 1}}]", "3: steps[0]: a try has a catch, a finally, or"),
    "an empty try": ("- {id: a, try: [], catch: []}", "3: steps[0].try: must not be empty"),
    "error in try": (
        '- id: a\n    try:\n      - {id: b, fail: "{{ error }}"}\n    catch: []',
        "5: steps[0].try[0].fail: unknown name 'error'",
    ),
    "error in finally": (
        '- id: a\n    try: [{id: b, set: {a: 1}}]\n    finally: [{id: c, fail: "{{ error }}"}]',
        "5: steps[0].finally[0].fail: unknown name 'error'",
    ),
    "try sees no catch": (
        '- id: a\n    try: [{id: b, set: {a: "{{ steps.c.status }}"}}]\n    catch: [{id: c, set: {a: 1}}]',
        "4: steps[0].try[0].set.a: step 'c' is not seen here",
    ),
    # for_each
    "a loop over a number": (
        f"- {{id: a, for_each: 5, steps: [{{id: b, {NOTE}}}]}}",
        "3: steps[0].for_each: expected an expression that gives a list, like event.body.items, got 5",
    ),
    "a loop of nothing": ("- {id: a, for_each: event.body}", "3: steps[0]: what is done for each item? steps: […], or"),
    "two bodies": (
        f"- {{id: a, for_each: event.body, uses: log.message, steps: [{{id: b, {NOTE}}}]}}",
        "3: steps[0]: steps and uses: a loop has one of them",
    ),
    "an action's key": (
        f"- {{id: a, for_each: event.body, retry: {{}}, with: {{}}, steps: [{{id: b, {NOTE}}}]}}",
        "3: steps[0]: retry, with belongs to uses; this loop has steps",
    ),
    "no concurrency": (
        f"- id: a\n    for_each: event.body\n    concurrency: 0\n    steps: [{{id: b, {NOTE}}}]",
        "5: steps[0].concurrency: must be at least 1, got 0",
    ),
    "more than all": (
        f"- id: a\n    for_each: event.body\n    tolerate: 101%\n    steps: [{{id: b, {NOTE}}}]",
        "5: steps[0].tolerate: expected a number of items, or a part of them like 5%, got '101%'",
    ),
    "a negative number": (
        f"- {{id: a, for_each: event.body, tolerate: -1, steps: [{{id: b, {NOTE}}}]}}",
        "3: steps[0].tolerate: expected a number of items",
    ),
    "a taken name": (
        f"- {{id: a, for_each: event.body, as: event, steps: [{{id: b, {NOTE}}}]}}",
        "3: steps[0].as: 'event' means something else in expressions",
    ),
    "no name": (
        f"- {{id: a, for_each: event.body, as: a-b, steps: [{{id: b, {NOTE}}}]}}",
        "3: steps[0].as: 'a-b' is not a name for the item",
    ),
    "item outside": (
        f'- {{id: a, for_each: event.body, steps: [{{id: b, {NOTE}}}]}}\n  - {{id: c, fail: "{{{{ item }}}}"}}',
        "4: steps[1].fail: unknown name 'item'",
    ),
    "item in its own list": (
        f"- {{id: a, for_each: item.x, steps: [{{id: b, {NOTE}}}]}}",
        "3: steps[0].for_each: unknown name 'item'",
    ),
    "item under another name": (
        '- {id: a, for_each: event.body, as: line, steps: [{id: b, fail: "{{ item }}"}]}',
        "3: steps[0].steps[0].fail: unknown name 'item'",
    ),
    "a step seen from outside its loop": (
        f"- id: a\n    for_each: event.body\n    steps: [{{id: b, {NOTE}}}]\n"
        '  - id: c\n    set: {a: "{{ steps.b.output }}"}',
        "7: steps[1].set.a: step 'b' is not seen here: it runs inside the loop 'a', whose steps are seen only there; "
        "steps.a.output is",
    ),
    "an action in a loop": (
        "- id: a\n    for_each: event.body\n    uses: log.mesage",
        "5: steps[0].uses: unknown action 'log.mesage'; did you mean 'log.message'?",
    ),
    "an argument in a loop": (
        "- id: a\n    for_each: event.body\n    steps:\n      - id: b\n        uses: log.message\n"
        "        with: {text: x, levle: info}",
        "8: steps[0].steps[0].with.levle: log.message has no argument 'levle'; did you mean 'level'?",
    ),
    # repeat
    "no until": (f"- {{id: a, repeat: {{}}, steps: [{{id: b, {NOTE}}}]}}", "3: steps[0].repeat: missing key 'until'"),
    "a key of repeat": (
        f"- {{id: a, repeat: {{until: true, limti: 3}}, steps: [{{id: b, {NOTE}}}]}}",
        "3: steps[0].repeat: unknown key 'limti'; did you mean 'limit'?",
    ),
    "no rounds": (
        f"- id: a\n    repeat: {{until: true, limit: 0}}\n    steps: [{{id: b, {NOTE}}}]",
        "4: steps[0].repeat.limit: must be at least 1, got 0",
    ),
    "until of nothing": (
        f"- id: a\n    repeat: {{until: steps.x.output}}\n    steps: [{{id: b, {NOTE}}}]",
        "4: steps[0].repeat.until: unknown step 'x'; known: b",
    ),
    "until over items": (
        f"- id: a\n    repeat: {{until: item}}\n    steps: [{{id: b, {NOTE}}}]",
        "4: steps[0].repeat.until: unknown name 'item'",
    ),
    "no steps": ("- {id: a, repeat: {until: true}}", "3: steps[0]: missing key 'steps'"),
    # Blocks
    "an id in two blocks": (
        f"- {{id: a, {NOTE}}}\n  - id: r\n    switch: event.body\n    cases:\n      x:\n        - {{id: a, {NOTE}}}",
        "8: steps[1].cases.x[0].id: there is a step 'a' already",
    ),
    "needs of another block": (
        f"- {{id: a, {NOTE}}}\n  - id: l\n    for_each: event.body\n    steps:\n"
        f"      - {{id: b, {NOTE}}}\n      - {{id: c, needs: [a], {NOTE}}}",
        "8: steps[1].steps[1].needs: step 'a' is in another block; needs names steps of the same one",
    ),
    "needs of nothing": (
        f"- {{id: abc, {NOTE}}}\n  - {{id: d, needs: [abd], {NOTE}}}",
        "4: steps[1].needs: unknown step 'abd'; did you mean 'abc'?",
    ),
    "a circle over a block": (
        "- id: a\n    for_each: event.body\n    needs: []\n    steps:\n"
        '      - {id: b, set: {a: "{{ steps.c.output }}"}}\n  - {id: c, set: {a: 1}}',
        "3: steps[0]: ",
    ),
    "a block that looks at itself": (
        '- {id: a, for_each: event.body, steps: [{id: b, set: {a: "{{ steps.a.output }}"}}]}',
        "3: steps[0].steps[0].set.a: step 'a' is not seen here",
    ),
    "a condition on what is inside": (
        f"- {{id: r, if: steps.b.status, switch: event.body, cases: {{x: [{{id: b, {NOTE}}}]}}}}",
        "3: steps[0].if: step 'b' is not seen here",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "told"), BROKEN.values(), ids=BROKEN)
def test_what_is_told_of_a_broken_step(steps: str, told: str) -> None:
    [fault] = faults(f"steps:\n  {steps}\n")
    assert fault.startswith(told)


def test_every_fault_is_told_at_once() -> None:
    text = """\
steps:
  - id: lines
    for_each: event.body.itmes |
    steps:
      - id: a
        if: steps.gone.status
        switch: itme
        cases:
          x:
            - id: b
              uses: log.mesage
output: "{{ steps.b.output }}"
"""
    assert [fault.split(": ")[:2] for fault in faults(text)] == [
        ["4", "steps[0].for_each"],
        ["7", "steps[0].steps[0].if"],
        ["8", "steps[0].steps[0].switch"],
        ["12", "steps[0].steps[0].cases.x[0].uses"],
        ["13", "output"],
    ]


def test_on_failure_is_checked_too() -> None:
    text = """\
steps: [{id: a, set: {b: 1}}]
on_failure:
  - {id: a, set: {b: "{{ error.message }}"}}
  - {id: c, set: {b: "{{ item }}"}}
  - {id: d, uses: log.mesage}
output: "{{ steps.c.output }}"
"""
    assert [fault.partition(";")[0] for fault in faults(text)] == [
        "4: on_failure[0].id: there is a step 'a' already",
        "5: on_failure[1].set.b: unknown name 'item'",
        "6: on_failure[2].uses: unknown action 'log.mesage'",
        "7: output: step 'c' is not seen here: a step sees what ended before it, "
        "in its own block and in the blocks around it",
    ]


def deep(levels: int) -> str:
    before = "".join(f"{{id: s{level}, switch: '1', cases: {{'1': [" for level in range(levels))
    return f"steps: [{before}{{id: deepest, set: {{a: 1}}}}{']}}' * levels}]"


def test_blocks_nest_twenty_deep_and_no_deeper() -> None:
    def told(levels: int) -> list[str]:
        return faults(deep(levels))

    assert told(20) == []
    [fault] = told(21)
    assert fault.endswith(".cases.1: nested deeper than 20 blocks")
    [fault] = told(10_000)
    assert "nested deeper than 100 levels" in fault


def test_steps_wait_for_what_their_blocks_refer_to() -> None:
    text = """\
steps:
  - {id: a, set: {x: 1}}
  - {id: b, needs: [], set: {x: 1}}
  - id: r
    needs: []
    switch: steps.b.output.x
    cases:
      '1':
        - id: l
          for_each: [1]
          steps: [{id: c, set: {x: "{{ steps.a.output }}"}}]
        - {id: d, set: {x: "{{ steps.l.output }} {{ steps.b.output }}"}}
  - {id: e, needs: [], set: {x: "{{ steps.d.output }}"}}
"""
    workflow = load_workflow("name: w\n" + text)
    workflow.compile({})

    assert {step.id: step.after for step in workflow.every_step()} == {
        "a": (), "b": (), "r": ("a", "b"), "l": (), "c": (), "d": ("l",), "e": ("r",)
    }  # fmt: skip
