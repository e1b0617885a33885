"""The cell magics `%%workflow` and `%%workflow-python`, and what is done for functions decorated in a cell."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from flows.language.faults import DefinitionErrors
from flows.notebook.faults import CellError, CellFaults
from flows.notebook.shown import Said
from flows.notebook.workflow import NotebookWorkflow, from_flow, from_yaml
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.python_source import load_python_text
from foundation.errors import DefinitionError


def add_to(shell: Any) -> None:
    """Registers the magics with an IPython shell."""
    display = import_module("IPython.display").display

    def magic(name: str, made_of: Callable[[str], dict[str, NotebookWorkflow]]) -> None:
        def run(line: str, cell: str) -> None:
            first = f"%%{name} {line}".rstrip()
            shell.push(made_of_cell(made_of, first, cell, display))

        run.__doc__ = f"%%{name}: a workflow in {'YAML' if made_of is of_yaml else 'Python'}, checked and drawn."
        shell.register_magic_function(run, magic_kind="cell", magic_name=name)

    magic("workflow", of_yaml)
    magic("workflow-python", of_python)

    shell.events.register("post_run_cell", lambda result: wrap_flows(shell.user_ns, display))


def wrap_flows(names: dict[str, Any], display: Callable[[Any], Any]) -> None:
    """Functions that a plain cell has decorated become what the magics make of a cell; what is wrong is shown."""
    for name, value in list(names.items()):
        if not isinstance(value, WorkflowFlow) or name.startswith("_"):
            continue
        try:
            names[name] = from_flow(value)
        except DefinitionError as error:
            del names[name]  # it could not be run, and would be told again after every cell
            display(Said(f"{name} is no workflow: {error}"))
        else:
            display(names[name])


def made_of_cell(
    made_of: Callable[[str], dict[str, NotebookWorkflow]], first: str, cell: str, display: Callable[[Any], Any]
) -> dict[str, NotebookWorkflow]:
    """The cell's workflows by their names in the notebook, each shown.

    Args:
        first: the cell's first line, the magic's own.

    Raises:
        CellError: what is wrong with the cell has been shown.
    """
    try:
        made = made_of(cell)
    except DefinitionError as error:
        faults = error.errors if isinstance(error, DefinitionErrors) else (error,)
        display(CellFaults([first, *cell.splitlines()], faults))
        raise CellError(faults) from None
    for workflow in made.values():
        display(workflow)
    return made


def of_yaml(cell: str) -> dict[str, NotebookWorkflow]:
    """The cell's workflow by the name that it gets in the notebook."""
    workflow = from_yaml(cell)
    return {workflow.name.replace("-", "_"): workflow}


def of_python(cell: str) -> dict[str, NotebookWorkflow]:
    """The cell's workflows by the names of their functions. The cell is a module of its own, as it is when deployed."""
    found = load_python_text(cell, str(Path.cwd() / "a notebook's cell"))
    if not found:
        raise DefinitionError("defines no workflow: decorate an async function with @workflow(…)", line=1)
    return {name: from_flow(flow) for name, flow in found.items()}
