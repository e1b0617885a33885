"""The tutorial's notebook, in a kernel, as far as it needs no platform; `tests/e2e/test_notebook.py` has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from tutorial_notebook import TUTORIAL, execute, shown, tags, tutorial


def below(notebook: Any, words: str) -> str:
    """What stands below the first cell that has these words in it."""
    return shown(next(cell for cell in notebook.cells if cell.cell_type == "code" and words in cell.source))


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPAAS_HOME", str(tmp_path / "home"))
    notebook = tutorial()
    notebook.cells = [cell for cell in notebook.cells if "platform" not in tags(cell)]
    execute(notebook, tmp_path)

    assert "for each line of event.body.lines" in below(notebook, "name: order")
    assert "unknown action 'log.mesage'; did you mean 'log.message'?" in below(notebook, "log.mesage")
    assert "CellError: 2 faults in this cell" in below(notebook, "log.mesage")
    assert "– skipped" in below(notebook, "small = await")
    assert "✓ succeeded" in below(notebook, "large = await")
    assert "2 failed" in below(notebook, "down = await")
    assert below(notebook, "order.executions()").count("succeeded") == 2
    assert "✓ succeeded" in below(notebook, "found = await")
    pictures = [
        output.data
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/svg+xml" in output.get("data", {})
    ]
    assert len([data for data in pictures if "<details>" in data["text/html"]]) == 5
    assert not (tmp_path / "home").exists()


def test_it_is_readable_without_a_kernel() -> None:
    """What its cells gave is saved with it, and is what they would give: the same cells gave it."""
    notebook = nbformat.read(TUTORIAL, nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith(("%%", "small", "large", "there")):
            assert cell.outputs, cell.source
    text = TUTORIAL.read_text()
    assert "<script" not in text
    assert not [word for word in ("/work/", "/tmp/", "/root/", "/home/") if word in text]
