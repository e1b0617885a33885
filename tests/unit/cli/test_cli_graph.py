"""`ipaas show` and `ipaas executions show --graph`: pictures on the command line."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.history import HistoryStore, NewExecution, Status, StepExecution, Trigger
from flows.language.yaml_source import load_workflow
from flows.on_prefect.flow import version_of
from foundation.ids import new_id

ORDERS = """
name: orders
description: Looks at every line.
triggers: [{webhook: {auth: none}}]
steps:
  - id: lines
    for_each: event.body.items
    steps:
      - {id: look, uses: log.message, with: {text: "{{ item }}"}}
  - {id: done, if: event.body.loud, uses: log.message, with: {text: done}}
"""
CODE = """
from connectors import log
from flows import Event, webhook, workflow

@workflow(triggers=[webhook(auth="none")])
async def first(event: Event) -> None:
    await log.message(text="one")

@workflow()
async def second(event: Event) -> None:
    if event.body:
        await log.message(text="two")
"""
File = Callable[[str, str], Path]
InHistory = Callable[[Callable[[HistoryStore], Any]], Any]


def test_a_files_workflow_is_told(ipaas: Any, file: File) -> None:
    file("orders.yaml", ORDERS)
    shown = ipaas("show", "orders.yaml")
    assert shown.code == 0
    words = [line.split() for line in shown.out.splitlines()]
    assert ["triggers", "webhook", "POST", "/hooks/orders"] in words
    assert ["look", "uses", "log.message"] in words
    assert ["done", "uses", "log.message", "lines"] in words


def test_it_is_drawn_for_the_terminal(ipaas: Any, file: File, monkeypatch: Any) -> None:
    file("orders.yaml", ORDERS)
    monkeypatch.setenv("COLUMNS", "44")
    drawn = ipaas("show", "orders.yaml", "--graph")
    assert drawn.code == 0
    assert "│ if event.body.loud" in drawn.out
    assert max(map(len, drawn.out.splitlines())) <= 44


def test_the_outputs_suffix_says_how(ipaas: Any, file: File, tmp_path: Path) -> None:
    file("orders.yaml", ORDERS)
    for name in ("orders.svg", "orders.mmd", "orders.txt"):
        assert ipaas("show", "orders.yaml", "--output", name).code == 0
    assert "for each item of event.body.items" in "".join(ET.parse(tmp_path / "orders.svg").getroot().itertext())
    assert (tmp_path / "orders.mmd").read_text().startswith("flowchart TD\n")
    assert (tmp_path / "orders.txt").read_text().startswith(" ")
    assert ipaas("show", "orders.yaml", "--format", "mermaid").out == (tmp_path / "orders.mmd").read_text()


def test_its_graph_is_data(ipaas: Any, file: File) -> None:
    file("orders.yaml", ORDERS)
    document = ipaas("show", "orders.yaml", "--json").document
    assert document["title"] == "orders"
    assert [one["id"] for one in document["graph"]["nodes"]] == ["<trigger 1>", "lines", "done"]
    assert document["states"] is None


def test_python_is_drawn_by_its_code(ipaas: Any, file: File) -> None:
    file("mine.py", CODE)
    assert "say mine.py:NAME, one of first, second" in ipaas("show", "mine.py", "--graph").err
    assert "if event.body" in ipaas("show", "mine.py:second", "--graph").out
    assert "no workflow third" in ipaas("show", "mine.py:third").err


def test_what_is_wrong_is_said(ipaas: Any, file: File) -> None:
    file("broken.yaml", ORDERS.replace("uses: log.message", "uses: log.mesage").replace("item }}", "itm }}"))
    shown = ipaas("show", "broken.yaml", "--graph")
    assert shown.code == 1
    assert "broken.yaml:9" in shown.err
    assert ipaas("show", "gone.yaml").err == "ipaas: gone.yaml: there is no such file\n"
    file("orders.yaml", ORDERS)
    assert "nowhere/x.svg" in ipaas("show", "orders.yaml", "--output", "nowhere/x.svg").err


def test_an_execution_is_drawn_with_how_far_it_has_come(ipaas: Any, in_history: InHistory) -> None:
    execution = in_history(_half_done)
    drawn = ipaas("executions", "show", execution, "--graph")
    assert drawn.code == 0, drawn.err
    assert "● running, 1 of 3" in drawn.out
    assert "✓ succeeded, 2.0 s" in drawn.out
    states = ipaas("executions", "show", execution, "--graph", "--json").document["states"]
    assert states["lines"] == {"status": "running", "seconds": None, "note": "1 of 3"}


async def _half_done(store: HistoryStore) -> str:
    version = version_of(load_workflow(ORDERS), ORDERS, language="yaml", file="orders.yaml")
    await store.publish(version)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    new = NewExecution(
        id=new_id(), workflow="orders", version=version.version, trigger=Trigger.MANUAL, event={}, accepted_at=now
    )
    await store.accept([new])
    begun = await store.begin(new.id, flow_run_id=None, owner="test/1", lease=30)
    hold = begun.hold  # type: ignore[union-attr]
    for step in (
        StepExecution("lines", "for_each", Status.RUNNING, started_at=now, decision={"items": [1, 2, 3]}),
        StepExecution(
            "lines[0].look", "log.message", Status.SUCCEEDED, started_at=now, finished_at=now.replace(second=2)
        ),
    ):
        assert await store.save_steps(hold, [step])
    return new.id
