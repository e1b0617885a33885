"""Broken files, each with what `ipaas check` says of it: line, column, place, and what would be right.

The files of `broken/` hold one case after the other: `=== what is wrong`, the workflow, and `--> line:column: message`
for every fault.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from connectors.kit.descriptions import DESCRIPTIONS
from flows.language.check import check_files, check_workflow
from flows.language.faults import MOST_FAULTS
from flows.language.yaml_source import load_workflow

FOLDER = Path(__file__).parent / "broken"


def cases() -> list[tuple[str, str, list[str]]]:
    found = []
    for path in sorted(FOLDER.glob("*.txt")):
        for case in path.read_text(encoding="utf-8").split("=== ")[1:]:
            title, _, rest = case.partition("\n")
            lines = rest.splitlines(keepends=True)
            told = [line.removeprefix("--> ").rstrip("\n") for line in lines if line.startswith("--> ")]
            found.append(
                (f"{path.stem}: {title}", "".join(line for line in lines if not line.startswith("--> ")), told)
            )
    return found


@pytest.mark.parametrize(("text", "told"), [pytest.param(*one[1:], id=one[0]) for one in cases()])
def test_what_is_told_of_a_broken_file(tmp_path: Path, text: str, told: list[str]) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text, encoding="utf-8")

    found = check_files([file], DESCRIPTIONS)

    assert [str(fault).removeprefix(f"{file}:") for fault in found] == told


def test_there_are_many_of_them_and_each_has_a_fault() -> None:
    assert len(cases()) > 100
    assert all(told for _, _, told in cases())


SOUND = """
name: w
input:
  type: object
  properties: {amount: {type: integer}, lines: {type: array, items: {type: object}}, kind: {enum: [a, b]}}
vars: {shop: Acme, codes: [404, 410], limit: "10"}
triggers: [{webhook: {auth: none, dedupe: "{{ event.headers['x-id'] }}-{{ event.body.id }}"}}]
steps:
  - {id: look, uses: http.request, with: {url: "https://example.org/{{ event.body.any.thing }}", timeout: 2s,
     expect: "{{ vars.codes }}", headers: {Authorization: "Bearer {{ event.body.token }}", X-Count: 3},
     query: {q: [1, 2], n: "{{ vars.limit | int }}"}}}
  - {id: maybe, if: event.body.kind == 'a' and vars.shop == 'Other', set: {n: 1, text: "{{ vars.limit ~ 'x' }}"}}
  - id: each
    for_each: event.body.lines | sort(attribute='sku')
    as: line
    on_error: continue
    uses: log.message
    with: {text: "{{ line.sku }} {{ index }} {{ line.count * 2 }}", level: "{{ 'info' if index else 'debug' }}"}
  - {id: say, uses: log.message, with: {text: "{{ steps.look.output.status }}"}}
  - {id: number, uses: log.message, with: {text: 7}}
  - {id: time, uses: http.request, with: {url: "https://example.org", timeout: "{{ event.body.amount }}"}}
  - {id: text, uses: http.request, with: {url: "https://example.org", expect: ["404", "{{ vars.limit }}"]}}
  - id: route
    switch: "'x' if event.body.amount > 3 else 'y'"
    cases: {x: [{id: x, stop: }], y: []}
  - {id: asks, set: {a: "{{ steps.say.output.more | default('') }}", b: "{{ vars.none is defined and vars.none }}"}}
  - {id: other, set: {a: "{{ steps.each.output[0].error.message }}", b: "{{ steps.each.output[0].text }}"}}
output:
  {a: "{{ steps.maybe.output.n | default(none) }}", b: "{{ (steps.each.output | first).text }}", c: "{{ now.year }}"}
respond: {when: finished, body: "{{ output.a }}", headers: {Api-Version: "2"}}
"""


def test_what_may_be_right_is_no_fault() -> None:
    assert [str(fault) for fault in check_workflow(load_workflow(SOUND), DESCRIPTIONS)] == []


HEAD = "name: w\nsteps:\n"
HOSTILE = {
    "steps that are nowhere": "".join(f'  - {{id: a{n}, if: "steps.b{n}.output"}}\n' for n in range(2_000)),
    "references to nothing": "".join(
        f'  - {{id: step{n}, set: {{a: "{{{{ steps.stepp{n} }}}}"}}}}\n' for n in range(2_000)
    ),
    "actions that are none": "".join(f"  - {{id: a{n}, uses: log.b{n}}}\n" for n in range(2_000)),
    "blocks in blocks": "  - " + "{id: a, switch: x, cases: {y: [" * 10_000,
    "a long text": f"  - {{id: a, set: {{b: '{'eyJ' * 300_000}'}}}}",
    "a schema that has no end": "  - {id: a, if: event.body.k1.k2.k3, stop: }\n"
    "input:\n  $ref: '#/$defs/a'\n  $defs: {a: {properties: {"
    + ", ".join(f"k{n}: {{$ref: '#/$defs/a'}}" for n in range(60))
    + "}}}\n",
}  # fmt: skip


@pytest.mark.parametrize("steps", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_told_of_in_bounded_time_and_space(tmp_path: Path, steps: str) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(HEAD + steps)
    begun = time.process_time()

    found = check_files([file], DESCRIPTIONS)

    assert time.process_time() - begun < 10
    assert len(found) <= MOST_FAULTS + 1
    assert sum(len(str(fault)) for fault in found) < 200_000
