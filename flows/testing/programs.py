"""The workflow that a test means: a file, a text, an object or a name. Compiled once, for all tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from connectors.kit.descriptions import DESCRIPTIONS
from flows.engine.program import Program, program_of_steps
from flows.expressions import unknown
from flows.language.check import check_declaration, check_workflow
from flows.language.faults import DefinitionErrors
from flows.language.files import YAML_SUFFIXES, defines_workflows, find_workflow_files
from flows.language.workflow import Workflow
from flows.language.yaml_source import load_workflow
from flows.on_prefect.compile import actions_of
from flows.on_prefect.flow import WorkflowFlow, version_of
from flows.on_prefect.python_source import load_python_file
from foundation.errors import NotFound

SUFFIXES: Final = (*YAML_SUFFIXES, ".py")
FILE: Final = re.compile(r"(.+\.(?:yaml|yml|py))(?::([a-z0-9-]+))?", re.DOTALL)
_NAME: Final = re.compile(r"""^name:[ ]*['"]?([a-z0-9-]+)['"]?[ ]*(?:#.*)?$""", re.MULTILINE)

Given = Workflow | WorkflowFlow | Path | str
"""A workflow's object, file (`FILE:NAME` if it has several), YAML text, or name."""


@dataclass
class Programs:
    """
    Args:
        folders: where a workflow that is given by its name is looked for.
    """

    folders: Sequence[Path] = ()
    _named: dict[str, Program] = field(default_factory=dict)

    def find(self, given: Given) -> Program:
        """
        Raises:
            DefinitionErrors: all that `ipaas check` finds wrong with it.
            NotFound: there is no such workflow.
        """
        if isinstance(given, WorkflowFlow):
            return given.program
        if isinstance(given, Workflow):
            return _of_object(given)
        if isinstance(given, str) and "\n" in given:
            return _of_text(given)
        if found := FILE.fullmatch(str(given)):
            return of_file(Path(found[1]), found[2])
        name = str(given)
        if name not in self._named:
            self._named[name] = self._search(name)
        return self._named[name]

    def _search(self, name: str) -> Program:
        others: set[str] = set()
        for file in find_workflow_files(self.folders, SUFFIXES):
            text = file.read_text(encoding="utf-8", errors="replace")
            if file.suffix != ".py":
                others.update(_NAME.findall(text))
            if _may_define(file, text, name) and name in (programs := _in_file(file, *_state(file))):
                return programs[name]
        where = ", ".join(map(str, self.folders)) or "no folder"
        raise NotFound(f"{unknown('workflow', name, sorted(others))}; looked for in {where}")


def of_file(file: Path, name: str | None = None) -> Program:
    """The workflow of a file, the one called `name` if it has several. Raises as `Programs.find`."""
    if not file.is_file():
        raise NotFound(f"there is no file {file}")
    programs = _in_file(file, *_state(file))
    if name is None and len(programs) == 1:
        return next(iter(programs.values()))
    if name in programs:
        return programs[name]
    said = ", ".join(programs) or "none"
    raise NotFound(f"{file} has {said}: say {file}:NAME" if name is None else f"{file} has no {name}; it has {said}")


def _state(file: Path) -> tuple[int, int]:
    """Differs when the file has changed."""
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size


def _may_define(file: Path, text: str, name: str) -> bool:
    """A quick look, so that not every file of a project is read as a workflow, or executed."""
    if file.suffix != ".py":
        return name in _NAME.findall(text)
    is_named = f"def {name.replace('-', '_')}(" in text or re.search(rf"name=['\"]{re.escape(name)}['\"]", text)
    return bool(is_named) and defines_workflows(file)


@lru_cache(maxsize=1000)
def _in_file(file: Path, changed: int, size: int) -> dict[str, Program]:
    """The workflows of a file by name. `changed` and `size` are its state."""
    if file.suffix != ".py":
        program = _compiled(load_workflow(file), file.read_text(encoding="utf-8-sig"), str(file.resolve()))
        return {program.declaration.name: program}
    flows = load_python_file(file)
    _refuse(fault for flow in flows for fault in check_declaration(flow.declaration))
    return {flow.name: flow.program for flow in flows}


@lru_cache(maxsize=1000)
def _of_text(text: str) -> Program:
    return _compiled(load_workflow(text), text, "<text>")


_objects: dict[int, tuple[Workflow, Program]] = {}
"""By identity, since they are not to be hashed; each is kept, so that no other one gets its identity."""


def _of_object(workflow: Workflow) -> Program:
    if id(workflow) not in _objects:
        source = json.dumps(workflow.as_data(), default=str)
        _objects[id(workflow)] = workflow, _compiled(workflow, source, workflow.file or "<object>")
    return _objects[id(workflow)][1]


def forget() -> None:
    """Whatever is asked for next is read anew."""
    _in_file.cache_clear()


def _compiled(workflow: Workflow, source: str, file: str) -> Program:
    _refuse(check_workflow(workflow, DESCRIPTIONS))
    return program_of_steps(version_of(workflow, source, language="yaml", file=file), workflow, actions_of(workflow))


def _refuse(faults: Iterable[Exception]) -> None:
    if found := list(faults):
        raise DefinitionErrors(found)  # type: ignore[arg-type]
