"""What `ipaas eject` writes beyond the steps, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from executing import block, post, step, steps

from flows.language.definition import Declaration
from flows.language.files import YAML_SUFFIXES, find_workflow_files
from flows.language.yaml_source import load_workflow
from flows.on_prefect.python_source import load_python_file
from foundation.errors import DefinitionError
from ipaas.checking import CATALOG
from ipaas.eject import eject

DECLARED = """
name: 2nd-orders
description: |
  Tells "the team"
  about \\ every order.
tags: [sales]
triggers:
  - webhook: {auth: none, path: in/orders, methods: [PUT, POST], dedupe: "{{ event.body.id }}"}
  - webhook: {auth: {scheme: hmac, header: X-Sig, credential: shop}}
  - schedule: {cron: "0 9 * * 1-5", timezone: Europe/Berlin, missed: all}
  - schedule: {every: 10m}
concurrency: {limit: 3, overflow: cancel}
timeout: 90s
input: {type: object, required: [id], properties: {id: {type: integer}}}
respond: {when: finished, status: "{{ output.status }}", body: {said: "{{ output }}"}, headers: {X-A: b}, timeout: 5s}
steps:
  - {id: a, uses: log.message, with: {text: x}}
output: {status: 201}
"""


@pytest.mark.parametrize(
    "source",
    [DECLARED, *(path.read_text() for path in find_workflow_files([CATALOG], YAML_SUFFIXES))],
    ids=lambda text: text.split()[1],
)
def test_the_workflow_says_the_same_of_itself(source: str, tmp_path: Path) -> None:
    file = tmp_path / "ejected.py"
    file.write_text(eject(source))
    [flow] = load_python_file(file)

    said = load_workflow(source).model_dump(include=set(Declaration.model_fields))
    said["description"] = said["description"].strip()
    assert flow.declaration.model_dump() == said


def test_a_workflow_reads_as_a_person_would_write_it() -> None:
    source = steps(
        post("/charge", {"amount": "{{ event.body.amount }}"}),
        step("lines", for_each="event.body.lines", as_="line", steps=block(post("/reserve", "{{ line.article }}"))),
        step("large", if_="event.body.amount > 100", fail="{{ event.body.amount }} is too much", code="too_much"),
        output="{charge: '{{ steps.charge.output.body.id }}'}",
    )

    assert (
        eject(f"name: refund\n{source}")
        == """\
from typing import Any

from connectors import http
from flows import Event, Failed, each, text, workflow


@workflow()
async def refund(event: Event) -> Any:
    charge = await http.request.with_id("charge")(
        method="POST",
        url="https://remote.test/charge",
        json={"amount": event.body["amount"]},
    )
    async for line in each(event.body["lines"], id="lines"):
        await http.request.with_id("reserve")(
            method="POST",
            url="https://remote.test/reserve",
            json=line["article"],
        )
    if event.body["amount"] > 100:
        raise Failed(
            f"{text(event.body['amount'])} is too much",
            code="too_much",
            id="large",
        )
    return {"charge": charge["body"]["id"]}
"""
    )


HALT = step("halt", stop={"output": 1}, if_="event.body")

REFUSED = {
    "tangled": (
        steps(post("/a"), post("/b", needs=[]), post("/c", needs=["a"]), post("/d", needs=["a", "b"])),
        4,
        "its needs are no nesting of one after the other and side by side",
    ),
    "stop-in-rounds": (
        steps(step("l", for_each="[1]", concurrency=2, steps=block(HALT))),
        3,
        "stop within a loop whose rounds are a function's has no equivalent",
    ),
    "stop-beside": (
        steps(post("/a"), step("halt", stop=None, if_="event.body", needs=[])),
        4,
        "stop within what runs side by side has no equivalent",
    ),
    "stop-in-finally": (
        steps(step("t", try_=block(post("/a")), finally_=block(HALT))),
        3,
        "stop within finally",
    ),
    "stop-in-on_failure": (steps(post("/a"), on_failure=json.dumps(block(HALT))), 4, "stop within on_failure"),
    "finally-in-catch": (
        steps(
            step(
                "t",
                try_=block(post("/a")),
                catch=block(step("u", try_=block(post("/b")), finally_=block(post("/c")))),
            )
        ),
        3,
        "finally within catch",
    ),
    "respond": (
        steps(post("/a"), respond="{when: finished, body: '{{ steps.a.output }}'}"),
        4,
        "steps and vars can't be referred to in a Python workflow's answer",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_equivalent_is_refused_with_its_line(name: str) -> None:
    source, line, said = REFUSED[name]

    with pytest.raises(DefinitionError) as refused:
        eject(f"name: test\n{source}", "orders.yaml")

    assert str(refused.value).startswith(f"orders.yaml:{line}:")
    assert said in str(refused.value)


def test_what_is_too_deep_for_python_is_refused() -> None:
    inner = post("/a")
    for number in range(12):
        inner = step(f"t{number}", try_=block(inner), catch=[], on_error="continue")

    with pytest.raises(DefinitionError, match=r"orders\.yaml: its blocks are too deep for Python"):
        eject(f"name: test\n{steps(inner)}", "orders.yaml")


def test_a_faulty_workflow_is_refused_as_ever() -> None:
    with pytest.raises(DefinitionError, match=r"orders\.yaml:2:\d+: .*unknown step 'b'"):
        eject("name: test\nsteps: [{id: a, uses: log.message, with: {text: '{{ steps.b.output }}'}}]", "orders.yaml")
