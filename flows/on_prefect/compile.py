"""Compiles published versions, of either language, into Prefect flows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connectors.kit.action import Action
from connectors.kit.descriptions import DESCRIPTIONS
from connectors.kit.registry import get as find_action
from flows.engine.program import program_of_steps
from flows.history import WorkflowVersion
from flows.language.workflow import Workflow
from flows.language.yaml_source import load_workflow
from flows.on_prefect.flow import WorkflowFlow, make_flow, version_of
from flows.on_prefect.python_source import load_python


def compile_version(version: WorkflowVersion) -> WorkflowFlow:
    """The Prefect flow of a published version.

    Raises:
        DefinitionError, NotFound: it does not compile (any more); `ipaas check` finds the same.
    """
    if version.language == "python":
        return load_python(version)
    workflow = load_workflow(version.source, file=version.file)
    workflow.compile(DESCRIPTIONS)
    return make_flow(program_of_steps(version, workflow, actions_of(workflow)))


def actions_of(workflow: Workflow) -> dict[str, Action[Any, Any]]:
    """What its steps use, by name."""
    return {name: find_action(name) for step in workflow.every_step() for name in step.actions}


def yaml_version(path: Path) -> WorkflowVersion:
    """What is published of a YAML file. Raises DefinitionError."""
    source = path.read_text(encoding="utf-8-sig")
    return version_of(load_workflow(path), source, language="yaml", file=str(path.resolve()))
