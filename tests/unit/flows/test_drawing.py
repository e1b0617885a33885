"""Pictures: what can be read off them."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.kit.registry import registry
from flows.drawing.layout import Box
from flows.drawing.mermaid import as_mermaid
from flows.drawing.picture import Picture, graph_of, picture_of_execution
from flows.drawing.states import Record, State, duration, recorded, records_told, states_of, waiting
from flows.drawing.svg import as_svg, layout_of
from flows.drawing.text import as_text
from flows.drawing.words import width_of
from flows.history import Status, StepExecution
from flows.language.definition import Declaration
from flows.language.graph import Graph, Group, Node
from flows.language.yaml_source import load_workflow

EVERYTHING = """
name: everything
triggers: [{webhook: {auth: none}}, {schedule: {every: 10m}}]
steps:
  - {id: values, set: {total: 1}}
  - {id: stock, needs: [values], uses: http.request, with: {url: "https://a.example"}}
  - {id: risk, needs: [values], if: event.body.amount > 10, uses: http.request, with: {url: "https://b.example"}}
  - id: lines
    needs: [stock, risk]
    for_each: event.body.items
    steps:
      - {id: reserve, uses: http.request, with: {url: "https://c.example"}}
      - {id: parts, for_each: item.parts, uses: log.message, with: {text: x}, on_error: continue}
  - id: route
    switch: event.body.country
    cases:
      DE: [{id: de, uses: log.message, with: {text: Moin}}]
      FR: [{id: fr, uses: log.message, with: {text: Salut}}, {id: pause, wait: 2s}]
    default: [{id: other, fail: "no such country: {{ event.body.country }}"}]
  - id: guarded
    try: [{id: risky, uses: http.request, with: {url: "https://d.example"}}]
    catch: [{id: sorry, uses: log.message, with: {text: "{{ error.message }}"}}]
on_failure: [{id: alert, uses: log.message, with: {text: "{{ error.message }}"}}]
"""
HOSTILE = '</text></svg><script>alert("1")</script>]]>"];\nend\n%%{init}%% <b>#quot; \x1b[31m \u202e \ud800'
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def everything() -> Graph:
    return graph_of(load_workflow(EVERYTHING), EVERYTHING, registry())


def record(path: str, status: str = "succeeded", *, at: float = 0, seconds: float = 1, **more: Any) -> Record:
    began = BEGAN + timedelta(seconds=at)
    ended = None if status == "running" else began + timedelta(seconds=seconds)
    return Record(path, "log.message", status, started_at=began, finished_at=ended, **more)


def states(*records: Record) -> dict[str, str]:
    return {step: state.said() for step, state in states_of(everything(), records).items()}


def inside(inner: Box, outer: Box) -> bool:
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and inner.x + inner.width <= outer.x + outer.width
        and inner.y + inner.height <= outer.y + outer.height
    )


def apart(one: Box, other: Box) -> bool:
    return (
        one.x + one.width <= other.x
        or other.x + other.width <= one.x
        or one.y + one.height <= other.y
        or other.y + other.height <= one.y
    )


def test_boxes_stand_inside_each_other_or_apart_and_lines_end_at_them() -> None:
    layout = layout_of(everything())
    steps = {box.node.id for box in layout.boxes if box.node}
    assert steps == {one.id for one in everything().every_node()}
    for one, other in itertools.combinations(layout.boxes, 2):
        assert apart(one, other) or inside(other, one), (one.lines, other.lines)
    for line in layout.lines:
        assert any(box.y + box.height == pytest.approx(line[0][1]) for box in layout.boxes)
        assert any(box.y == pytest.approx(line[-1][1]) for box in layout.boxes)
    assert len(layout.lines) == len(list(everything().every_edge())) + 1  # from try to catch


def test_a_step_stands_below_what_it_waits_for() -> None:
    top = {box.node.id: box.y for box in layout_of(everything()).boxes if box.node}
    for before, after in everything().every_edge():
        assert top[before] < top[after]


def test_svg_is_well_formed_and_says_everything() -> None:
    drawing = ET.fromstring(as_svg(everything(), title="everything"))
    said = " ".join(drawing.itertext())
    for word in (
        "POST /hooks/everything",
        "reserve",
        "for each item of event.body.items",
        "if event.body.amount",
        "DE",
    ):
        assert word in said


def test_svg_needs_nothing_from_outside() -> None:
    drawn = as_svg(everything()).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not [word for word in ("http:", "href", "@import", "<script", "foreignObject", "url(h") if word in drawn]
    assert "prefers-color-scheme:dark" in drawn


@pytest.mark.parametrize("name", [HOSTILE, "x" * 5_000, "日本語の手順", ""])
def test_what_stands_in_a_workflow_is_text_and_nothing_else(name: str) -> None:
    graph = Graph((Node("a", "switch", name, name, groups=(Group(name or "-", Graph((Node("b", "fail", name),))),)),))
    state = {"a": State('failed"><script>', 1.0, name)}
    drawing = ET.fromstring(as_svg(graph, state, name))
    assert {one.tag.partition("}")[2] for one in drawing.iter()} <= {
        *("svg", "title", "style", "defs", "marker", "path", "g", "rect", "text")
    }
    assert len(as_mermaid(graph, state).splitlines()) == 9
    assert "<script" not in as_mermaid(graph, state)
    for drawn in (as_mermaid(graph, state), as_text(graph, state)):
        assert not [bad for bad in ("\x1b", "\u202e", "\ud800") if bad in drawn]


@pytest.mark.parametrize("width", [200, 110, 80, 50, 30, 12])
def test_text_is_never_wider_than_there_is_room_for(width: int) -> None:
    state = {"values": State("succeeded", 0.01), "stock": State("failed", 2, "3 attempts")}
    drawn = as_text(everything(), state, width)
    assert max(map(width_of, drawn.splitlines())) <= width
    assert "values" in drawn


def test_text_has_whole_boxes_with_arrows_between() -> None:
    drawn = as_text(Graph((Node("a", "uses", "log.message"), Node("b", "wait", "2 s")), (("a", "b"),)))
    assert drawn.splitlines() == [
        "┌─────────────┐",
        "│ a           │",
        "│ log.message │",
        "└──────┬──────┘",
        "       │",
        "       ▼",
        "  ┌──────────┐",
        "  │ b        │",
        "  │ wait 2 s │",
        "  └──────────┘",
    ]


def test_wide_characters_keep_their_frame() -> None:
    drawn = as_text(Graph((Node("a", "uses", "日本"), Node("b", "uses", "a\u0301b")))).splitlines()
    assert len({width_of(line) for line in drawn[:1] + drawn[-1:]}) == 1
    assert all(width_of(line) == width_of(drawn[0]) for line in drawn)


def test_where_no_boxes_fit_it_is_a_list() -> None:
    drawn = as_text(everything(), {"lines": State("running")}, 12)
    assert "┌" not in drawn
    assert next(line for line in drawn.splitlines() if "reserve" in line).startswith("  ")


def test_mermaid_has_the_groups_and_what_waits_for_what() -> None:
    drawn = as_mermaid(everything(), {"values": State("failed")})
    assert drawn.startswith("flowchart TD\n")
    assert drawn.count("subgraph ") == drawn.count(" end\n") + drawn.endswith(" end")
    assert drawn.count(" --> ") == len(list(everything().every_edge())) + 1
    assert '["values<br>set total<br>#10007; failed"]:::bad' in drawn


def test_mermaid_tells_blocks_of_the_same_name_apart() -> None:
    groups = tuple(Group("default", Graph((Node(name, "set"),))) for name in "ab")
    names = re.findall(r"subgraph (n\d+)", as_mermaid(Graph((Node("route", "switch", groups=groups),))))
    assert len(names) == len(set(names)) == 3


def test_a_step_says_how_it_ended_and_how_long_it_took() -> None:
    assert states(record("values", seconds=0.012), record("stock", "failed", seconds=2, attempts=3)) == {
        "values": "succeeded, 12 ms",
        "stock": "failed, 2.0 s, 3 attempts",
    }
    assert states(record("values", "running"), record("risk", "skipped")) == {"values": "running", "risk": "skipped"}


def test_a_loops_rounds_are_counted() -> None:
    said = states(
        record("lines", "running", total=10),
        *(record(f"lines[{number}].reserve", "failed" if number == 1 else "succeeded") for number in range(3)),
        record("lines[3].reserve", "running"),
    )
    assert said["lines"] == "running, 3 of 10, 1 failed"
    assert said["reserve"] == "running, 4 times, 1 failed"


def test_a_failure_that_its_round_goes_on_after_is_no_failed_round() -> None:
    said = states(
        record("lines", output=[1]),
        record("lines[0].reserve"),
        record("lines[0].parts", "failed", output=None),
        record("lines[0].parts[0]", "failed"),
        record("lines[0].parts[1]"),
    )
    assert said["lines"] == "succeeded, 1.0 s, 1 of 1"
    assert said["parts"] == "failed, 1.0 s, 2 rounds, 1 failed"


def test_a_record_of_the_history_knows_the_length_of_its_loop() -> None:
    step = StepExecution("lines", "for_each", Status.RUNNING, started_at=BEGAN, decision={"items": [1, 2, 3]})
    assert recorded(step).total == 3


def test_a_record_of_the_api_is_the_same() -> None:
    given = {"id": "a", "action": "log.message", "status": "succeeded", "attempts": 1, "output": 1, "error": None}
    times = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:01Z"}
    assert records_told({"status": "succeeded", "steps": [given | times]}) == [record("a", output=1)]


def test_what_runs_in_an_execution_that_waits_waits() -> None:
    found = waiting("waiting", [record("a"), record("b", "running")])
    assert [one.status for one in found] == ["succeeded", "waiting"]
    assert waiting("running", [record("b", "running")])[0].status == "running"


def test_what_the_workflow_lacks_is_drawn_as_it_was_recorded() -> None:
    source = "from flows import workflow"
    graph = graph_of(Declaration(name="mine"), source, registry())
    found = picture_of_execution(
        "mine",
        graph,
        [record("http.request"), record("a", at=2, seconds=3), record("b", at=3), record("http.request-2", at=6)],
    )
    assert found.graph.edges == (
        *(("http.request", "a"), ("http.request", "b")),
        *(("a", "http.request-2"), ("b", "http.request-2")),
    )
    assert "succeeded, 3.0 s" in found.draw("text")


def test_an_execution_of_a_known_workflow_is_drawn_in_its_graph() -> None:
    found = picture_of_execution("everything", everything(), [record("values"), record("lines[0].reserve")])
    assert found.graph == everything()
    assert found.document()["states"]["values"]["status"] == "succeeded"


@pytest.mark.parametrize("form", ["text", "svg", "mermaid"])
def test_what_nests_deep_and_what_is_long_is_drawn(form: Any) -> None:
    deep = Graph((Node("innermost", "uses", "log.message"),))
    for number in range(20):
        deep = Graph((Node(f"loop{number}", "for_each", "x", groups=(Group("", deep, True),)),))
    long = Graph(tuple(Node(f"n{n}", "set") for n in range(300)), tuple((f"n{n}", f"n{n + 1}") for n in range(299)))
    assert "innermost" in Picture("deep", deep).draw(form)
    assert "n299" in Picture("long", long).draw(form)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0123, "12 ms"), (3.21, "3.2 s"), (99.9, "99.9 s"), (125, "2 min 5 s"), (0, "0 ms")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
