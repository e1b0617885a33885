"""What stands below a cell."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.drawing.picture import Picture
from flows.drawing.states import Record, State
from flows.language.graph import Graph, Node
from flows.notebook import live as live_module
from flows.notebook.faults import CellError, CellFaults
from flows.notebook.live import Live
from flows.notebook.magics import made_of_cell, of_python, of_yaml, wrap_flows
from flows.notebook.shown import Drawing, Said, Shown, Table
from flows.on_prefect.python_source import load_python_text
from foundation.errors import DefinitionError

HOSTILE = "</pre></details><script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31m\ud800"
PICTURE = Picture(HOSTILE, Graph((Node("a", "uses", HOSTILE),)), {"a": State("failed", 1.0, HOSTILE)})


class Tags(HTMLParser):
    """Every tag in a document, with its attributes, and whether what is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def shown() -> list[Shown]:
    record = Record(HOSTILE, HOSTILE, "failed", 2, output=HOSTILE, error={"message": HOSTILE}, input={HOSTILE: HOSTILE})
    return [
        Drawing(PICTURE, HOSTILE, [record], {"output": HOSTILE}),
        Table(["a", "b"], [{"a": HOSTILE, "b": None}]),
        Said(HOSTILE),
        CellFaults([HOSTILE, HOSTILE], [DefinitionError(HOSTILE, line=1)]),
    ]


@pytest.mark.parametrize("what", shown(), ids=lambda what: type(what).__name__)
def test_data_is_text_and_nothing_else(what: Shown) -> None:
    html = what._repr_html_()
    tags = Tags(html)
    assert tags.open == []
    assert {tag for tag, _ in tags.seen} <= {
        *("div", "img", "details", "summary", "b", "pre", "span", "table", "thead", "tbody", "tr", "th", "td")
    }
    assert not any(name.startswith("on") for _, attributes in tags.seen for name in attributes)
    for form in what._repr_mimebundle_().values():
        form.encode()
        assert "\x1b" not in form


def test_a_drawing_is_an_image_and_details_that_need_nothing_from_outside() -> None:
    record = Record("a", "log.message", "succeeded", input={"text": "hi"}, output={"text": "hi"})
    bundle = Drawing(PICTURE, "done", [record]).bundle()
    [source] = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', bundle["text/html"])
    assert base64.b64decode(source).decode() == bundle["image/svg+xml"]
    assert "<details><summary><b>a</b> log.message ✓ succeeded</summary><div>input</div>" in bundle["text/html"]
    assert "http" not in bundle["text/html"]
    assert "┌" in bundle["text/plain"]


def test_what_is_long_is_cut() -> None:
    records = [Record(f"a{number}", "log.message", "succeeded", output="x" * 10_000) for number in range(500)]
    html = Drawing(PICTURE, "done", records)._repr_html_()
    assert html.count("<details>") == 200
    assert "and 300 more" in html
    assert len(html) < 1_500_000


def test_a_fault_points_into_its_cell() -> None:
    cell = "name: x\nsteps:\n  - id: a\n    uses: log.mesage\n"
    shown: list[Any] = []
    with pytest.raises(CellError) as error:
        made_of_cell(of_yaml, "%%workflow", cell, shown.append)
    assert shown[0].bundle()["text/plain"].splitlines() == [
        "1 fault in this cell",
        "   4 │   - id: a",
        "   5 │     uses: log.mesage",
        "     │     ^^^^^^^^^^^^^^^^",
        "     │     steps[0].uses: unknown action 'log.mesage'; did you mean 'log.message'?",
    ]
    assert error.value._render_traceback_() == ["CellError: 1 fault in this cell; see above"]


def test_of_lines_far_apart_those_around_each_fault_are_shown() -> None:
    faults = [DefinitionError("first", line=1), DefinitionError("last", line=8)]
    text = CellFaults(["%%workflow", *"abcdefgh"], faults).bundle()["text/plain"]
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["1", "2", "│", "│", "3", "…", "8", "9", "│", "│"]


def test_a_fault_with_a_column_points_at_it() -> None:
    fault = DefinitionError("here", line=1, column=3)
    assert (
        CellFaults(["%%workflow", "abcdef"], [fault]).bundle()["text/plain"].endswith("\n     │   ^^^^\n     │   here")
    )


def test_faults_of_one_line_are_marked_once() -> None:
    faults = [DefinitionError("first", line=1), DefinitionError("second", line=1)]
    text = CellFaults(["%%workflow", "  ab"], faults).bundle()["text/plain"]
    assert text.splitlines()[2:] == ["   2 │   ab", "     │   ^^", "     │   first", "     │   second"]


def test_a_cell_becomes_a_workflow_of_its_name() -> None:
    shown: list[Any] = []
    cell = "name: my-order\nsteps: [{id: a, uses: log.message, with: {text: x}}]"
    made = made_of_cell(of_yaml, "%%workflow", cell, shown.append)
    assert list(made) == ["my_order"]
    assert shown == [made["my_order"]]
    assert "log.message" in repr(shown[0])


def test_a_python_cell_becomes_its_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell = "from flows import Event, workflow\n@workflow()\nasync def mine(event: Event): ...\n"
    made = of_python(cell)
    assert made["mine"].name == "mine"
    assert made["mine"].flow.published.source == cell
    with pytest.raises(DefinitionError, match="defines no workflow"):
        of_python("x = 1")
    with pytest.raises(DefinitionError, match="ZeroDivisionError") as error:
        of_python("x = 1\ny = 1 / 0\n")
    assert error.value.line == 2


def test_what_a_plain_cell_has_decorated_becomes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    head = "from flows import Event, schedule, workflow\n"
    right = load_python_text(f"{head}@workflow()\nasync def right(event: Event): ...\n", "cell")
    wrong = load_python_text(
        f"{head}@workflow(triggers=[schedule(cron='61 * * * *')])\nasync def wrong(event: Event): ...\n", "cell"
    )
    names, shown = {**right, **wrong, "other": 1}, list[Any]()
    wrap_flows(names, shown.append)
    wrap_flows(names, shown.append)
    assert names == {"right": shown[0], "other": 1}
    assert len(shown) == 2
    assert "wrong is no workflow: cell:2: " in repr(shown[1])


class Handle:
    def __init__(self) -> None:
        self.updates: list[Any] = []

    def update(self, what: Any) -> None:
        self.updates.append(what)


def stand_in(monkeypatch: pytest.MonkeyPatch, **modules: Any) -> None:
    for name in ("IPython", "IPython.display", "marimo"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name.replace("_", "."), module)


def sentence(text: str) -> Callable[[], Said]:
    return lambda: Said(text)


async def test_in_jupyter_what_is_shown_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    handle, first = Handle(), list[Any]()

    def display(what: Any, *, display_id: bool) -> Handle:
        first.append(what)
        return handle

    monkeypatch.setattr(live_module, "_SECONDS", 0.01)
    monkeypatch.setattr(live_module, "time", SimpleNamespace(monotonic=lambda: 100.0))
    shell = SimpleNamespace(kernel=object())
    stand_in(
        monkeypatch,
        IPython=SimpleNamespace(get_ipython=lambda: shell),
        IPython_display=SimpleNamespace(display=display),
    )
    live = Live()
    live.show(sentence("one"))
    live.show(sentence("too soon"))
    live.show(sentence("in a moment"))
    assert (first, handle.updates) == ([Said("one")], [])
    await asyncio.sleep(0.05)
    assert handle.updates == [Said("in a moment")]
    live.show(sentence("too soon again"))
    live.show(sentence("last"), last=True)
    await asyncio.sleep(0.05)
    assert (handle.updates[1:], live.is_kept) == ([Said("last")], True)


def test_in_marimo_too_until_the_cells_value_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[Any] = []
    output = SimpleNamespace(replace=replaced.append)
    stand_in(monkeypatch, marimo=SimpleNamespace(running_in_notebook=lambda: True, output=output))
    live = Live()
    live.show(sentence("one"))
    assert (replaced, live.is_kept) == ([Said("one")], False)


def test_elsewhere_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, IPython=SimpleNamespace(get_ipython=lambda: None))
    live = Live()
    live.show(lambda: pytest.fail("drawn for nobody"), last=True)
    assert not live.is_kept
