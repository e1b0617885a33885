"""Runs the cells of docs/tutorial/notebook.ipynb in a kernel of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial" / "notebook.ipynb"


def tutorial() -> Any:
    """The notebook, without what its cells have given."""
    notebook = nbformat.read(TUTORIAL, nbformat.NO_CONVERT)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def tags(cell: Any) -> list[str]:
    found: list[str] = cell.metadata.get("tags", [])
    return found


def execute(notebook: Any, folder: Path) -> None:
    """Runs every cell, in this folder; fails with the first that fails, but for those that are to."""
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()


def shown(cell: Any) -> str:
    """What stands below the cell, as text."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "error":
            parts.append("\n".join(output.traceback))
        else:
            parts.append(output.text if output.output_type == "stream" else output.data["text/plain"])
    return "\n".join(parts)
