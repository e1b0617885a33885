"""`ipaas check`: everything that is wrong in files of either language. Prefect is loaded only to read Python files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from connectors.kit.descriptions import DESCRIPTIONS
from flows.language.check import check_files
from flows.language.definition import Declaration
from flows.language.files import YAML_SUFFIXES, defines_workflows
from flows.language.yaml_source import load_workflow
from foundation.errors import DefinitionError

SUFFIXES: Final = (*YAML_SUFFIXES, ".py")
CATALOG: Final = Path(__file__).parent.parent / "flows" / "catalog"
"""The shipped workflows."""


def load(path: Path, executing: Callable[[Path], None] = lambda path: None) -> Sequence[Declaration]:
    """The workflows of a file, in either language. A Python file that defines some is executed, and no other.

    Args:
        executing: is told of a file before it is executed.

    Raises:
        DefinitionError: the file can't be read, or can't be executed.
    """
    if path.suffix != ".py":
        return [load_workflow(path)]
    if not defines_workflows(path):
        return []
    executing(path)
    from flows.on_prefect.python_source import load_python_file

    return [flow.declaration for flow in load_python_file(path)]


def check(paths: Iterable[Path], executing: Callable[[Path], None] = lambda path: None) -> list[DefinitionError]:
    """Everything that is wrong in these files and folders; `executing` as for `load`."""
    return check_files(paths, DESCRIPTIONS, suffixes=SUFFIXES, load=partial(load, executing=executing))
