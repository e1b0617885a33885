"""The end of the tutorial's notebook: a workflow is deployed to a running platform, and runs there."""

from __future__ import annotations

from pathlib import Path

import pytest
from platform_process import Platform
from tutorial_notebook import execute, shown, tags, tutorial


def test_a_cell_is_deployed_and_runs_on_the_platform(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAAS_HOME", str(platform.home))
    notebook = tutorial()
    notebook.cells = [
        cell for cell in notebook.cells if cell.source.startswith("%load_ext") or {"deploy", "platform"} & {*tags(cell)}
    ]
    execute(notebook, tmp_path)
    deployed, ran, table = (shown(cell) for cell in notebook.cells if "platform" in tags(cell))
    assert "greet is deployed as version" in deployed
    assert "succeeded in" in ran
    assert "2 of 2" in ran
    assert table.count("platform  succeeded") == 1
