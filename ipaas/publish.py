"""From files to deployments: find, check, compile, deploy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from prefect.client.orchestration import PrefectClient
from prefect.flows import load_flow_from_entrypoint

from connectors.kit.registry import registry
from flows.drawing.picture import graph_of
from flows.history import HistoryStore, WorkflowVersion
from flows.language.check import check_files
from flows.language.definition import Declaration
from flows.language.faults import DefinitionErrors
from flows.language.files import YAML_SUFFIXES, defines_workflows, find_workflow_files
from flows.language.graph import Graph
from flows.language.yaml_source import load_workflow
from flows.on_prefect.compile import compile_version, yaml_version
from flows.on_prefect.deployment import deploy_version
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.python_source import load_python_file
from foundation.errors import DefinitionError
from foundation.settings import Settings
from ipaas.connection import history

SUFFIXES = (*YAML_SUFFIXES, ".py")
CATALOG = Path(__file__).parent.parent / "flows" / "catalog"
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
    return [flow.declaration for flow in load_python_file(path)]


def check(paths: Iterable[Path], executing: Callable[[Path], None] = lambda path: None) -> list[DefinitionError]:
    """Everything that is wrong in these files and folders; `executing` as for `load`."""
    return check_files(paths, registry(), suffixes=SUFFIXES, load=partial(load, executing=executing))


def compile_files(paths: Iterable[Path]) -> list[WorkflowFlow]:
    """The workflows of these files and folders, as flows.

    Raises:
        DefinitionErrors: all that `check` finds; then nothing is compiled.
    """
    files = list(paths)
    if faults := check(files):
        raise DefinitionErrors(faults)
    flows: list[WorkflowFlow] = []
    for path in find_workflow_files(files, SUFFIXES):
        if path.suffix != ".py":
            flows.append(compile_version(yaml_version(path)))
        elif defines_workflows(path):
            flows += load_python_file(path)
    return flows


def graph_of_version(version: WorkflowVersion) -> Graph | None:
    """A published version's graph; None when it does not compile any more."""
    try:
        if version.language == "yaml":
            return graph_of(load_workflow(version.source, file=version.file), version.source, registry())
        return graph_of(Declaration.model_validate(version.declaration), version.source, registry())
    except DefinitionError:  # published by another version of ipaas, or with other connectors
        return None


async def deploy(client: PrefectClient, store: HistoryStore, flows: Sequence[WorkflowFlow]) -> None:
    """Deploys compiled workflows, and publishes them."""
    for flow in flows:
        await deploy_version(client, store, flow.published)


async def publish_entrypoint(entrypoint: str) -> dict[str, str]:
    """A step of `prefect.yaml`: publishes the workflow that `prefect deploy` deploys, so that its webhook is known.

    Args:
        entrypoint: as in `prefect.yaml`: `file.py:name` or `package.module.name`.

    Returns:
        `version`, for the deployment's own.

    Raises:
        DefinitionError: what is there is no workflow.
        ConfigurationError, StorageUnavailable: the history that the environment names can't be used.
    """
    flow: object = await asyncio.to_thread(load_flow_from_entrypoint, entrypoint)
    if not isinstance(flow, WorkflowFlow):
        raise DefinitionError(f"{entrypoint} is not a workflow: make it one with @workflow")
    async with history(Settings()) as store:
        await store.publish(flow.published)
    return {"version": flow.published.version}
