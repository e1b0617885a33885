"""From files to deployments: find, check, compile, deploy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from prefect.client.orchestration import PrefectClient
from prefect.flows import load_flow_from_entrypoint

from flows.history import HistoryStore, WorkflowVersion
from flows.language.faults import DefinitionErrors
from flows.language.files import defines_workflows, find_workflow_files
from flows.on_prefect.compile import compile_version, yaml_version
from flows.on_prefect.deployment import deploy_version
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.python_source import load_python_file
from foundation.errors import DefinitionError, NotFound
from foundation.nearest import listed
from foundation.settings import Settings
from ipaas.checking import SUFFIXES, check
from ipaas.connection import history


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


async def deploy(client: PrefectClient, store: HistoryStore, flows: Sequence[WorkflowFlow]) -> None:
    """Deploys compiled workflows, and publishes them."""
    for flow in flows:
        await deploy_version(client, store, flow.published)


async def go_back(client: PrefectClient, store: HistoryStore, workflow: str, version: str) -> WorkflowVersion:
    """Makes an older version the current one again, as a deploy of its text would; the version.

    Raises:
        NotFound: there is no such workflow, or no such version of it (any more).
        DefinitionError: it does not compile any more.
    """
    wanted = await find_version(store, workflow, version)
    await asyncio.to_thread(compile_version, wanted)
    await deploy_version(client, store, wanted)
    return wanted


async def find_version(store: HistoryStore, workflow: str, version: str) -> WorkflowVersion:
    """Raises NotFound, with those that there are."""
    found = await store.version(workflow, version)
    if found is None:
        known = [one.version for one in await store.versions(workflow)]
        if not known:
            raise NotFound(f"no workflow {workflow}: see `ipaas workflows`")
        raise NotFound(f"workflow {workflow} has no version {version}; it has {listed(known)}")
    return found


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
