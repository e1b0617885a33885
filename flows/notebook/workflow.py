"""A workflow in a notebook: it shows itself as a picture, is awaited to run, and deploys itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from connectors.kit.descriptions import DESCRIPTIONS
from flows.drawing.picture import Picture, graph_of, picture_of_execution
from flows.drawing.states import UNFINISHED, Record, records_told
from flows.language.check import check_declaration, check_workflow
from flows.language.event import Event
from flows.language.faults import DefinitionErrors
from flows.language.input_schema import InputSchema
from flows.language.yaml_source import load_workflow
from flows.notebook.inline import run_here
from flows.notebook.live import Live
from flows.notebook.platform import Platform, deploy, now
from flows.notebook.runs import Run, Where, table_of_answers, table_of_runs
from flows.notebook.shown import Bundle, Drawing, Said, Shown, Table
from flows.notebook.stubs import Stubs
from flows.on_prefect.compile import compile_version
from flows.on_prefect.flow import WorkflowFlow, version_of
from flows.on_prefect.python_source import load_python
from foundation.errors import IpaasError
from foundation.settings import Settings

_POLL_SECONDS: Final = 0.3
_WAITING_SECONDS: Final = 10.0
"""After so long a wait for something outside, the cell ends: what answers it may be another cell of the notebook."""
_made: Final[dict[str, WorkflowFlow]] = {}
"""The notebook's workflows, the newest of each name: what its others can call."""
_ran: Final[dict[str, list[Run]]] = {}
"""What ran here, by the workflow's name: a cell that is run again makes another object, and keeps it."""


@dataclass(repr=False)
class NotebookWorkflow(Shown):
    """
    Attributes:
        flow: the Prefect flow that it is.
    """

    flow: WorkflowFlow
    _picture: Picture

    @property
    def name(self) -> str:
        return self.flow.declaration.name

    async def __call__(
        self,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | list[str]] | None = None,
        stubs: Stubs | None = None,
        on: Where = "here",
    ) -> Run:
        """Runs it for one event; the picture follows.

        Args:
            body, headers, query: the event's. The platform takes a body only.
            stubs: then nothing is sent: by step `{"output": …}` or `{"error": {…}}`, by address
                `{"json": …}` or `{"status": 503}`: `{"POST https://stock.example/*": {"json": {"ok": True}}}`.
            on: `platform` starts it on the running platform, which must have this very version.

        Raises:
            IpaasError: the body does not fit `input`, or the platform does not take it. An execution that fails
                raises nothing, nor does one that still waits for a signal or a decision: see its `status`.
        """
        if schema := self.flow.declaration.input:
            for fault in InputSchema(schema).errors(body, most=1):
                raise IpaasError(f"the body does not fit the workflow's input: {fault['path']}: {fault['message']}")
        if on == "platform" and (stubs is not None or headers or query):
            raise IpaasError("the platform is given a body only; stubs, headers and query are for runs here")
        if on not in ("here", "platform"):
            raise IpaasError(f"on={on!r}: expected here or platform")
        live = Live()
        if on == "platform":
            ran = await self._on_platform(body, live)
        else:
            lower = {name.lower(): value for name, value in (headers or {}).items()}
            ran = await self._here(Event(body=body, headers=lower, query=dict(query or {})), stubs, live)
        live.show(ran.drawing, last=True)
        ran.is_shown = live.is_kept
        _ran.setdefault(self.name, []).append(ran)
        return ran

    async def _here(self, event: Event, stubs: Stubs | None, live: Live) -> Run:
        execution, steps = await run_here(
            self.flow,
            event,
            others=[one for one in _made.values() if one.name != self.name],
            stubs=stubs,
            watch=lambda records: live.show(lambda: self._running(records())),
        )
        return Run.of_execution(execution, steps, self._with(steps))

    async def _on_platform(self, body: Any, live: Live) -> Run:
        platform = Platform.find(Settings())
        there = await platform.version_of(self.name)
        if there != self.flow.published.version:
            known = f"has another version of it, {there}" if there else f"knows no workflow {self.name}"
            raise IpaasError(f"the platform {known}: {self.name.replace('-', '_')}.deploy() first")
        execution_id = await platform.start(self.name, body)
        waited = 0.0
        while (found := await platform.execution(execution_id))["status"] in UNFINISHED and waited < _WAITING_SECONDS:
            live.show(partial(self._running, records_told(found)))
            await asyncio.sleep(_POLL_SECONDS)
            waited = waited + _POLL_SECONDS if found["status"] == "waiting" else 0.0
        return Run.of_answer(found, self._with(records_told(found)))

    def _running(self, records: Sequence[Record]) -> Drawing:
        return Drawing(self._with(records), "running", records)

    def _with(self, records: Sequence[Record]) -> Picture:
        return picture_of_execution(self.name, self._picture.graph, records)

    def executions(self, on: Where = "here", limit: int = 50) -> Table:
        """The newest executions first: those that ran here, or with `on="platform"` those of the workflow there."""
        if on == "platform":
            return table_of_answers(now(Platform.find(Settings()).executions(self.name, limit)))
        return table_of_runs(_ran.get(self.name, [])[::-1][:limit])

    def deploy(self) -> Said:
        """Deploys it to the running platform, as `ipaas deploy` does.

        Raises:
            DefinitionError: a Python workflow can't be loaded from its cell alone: what it uses must stand in it.
            ConfigurationError, StorageUnavailable, IpaasError: there is no platform that takes it.
        """
        settings, version = Settings(), self.flow.published
        if version.language == "python":
            load_python(version)
        now(deploy(version, settings))
        return Said(f"{self.name} is deployed as version {version.version}")

    def bundle(self) -> Bundle:
        description = self.flow.declaration.description.partition("\n")[0]
        return Drawing(self._picture, f"{self.name}{f': {description}' if description else ''}").bundle()


def from_yaml(text: str, file: str | None = None) -> NotebookWorkflow:
    """The workflow that the text describes.

    Args:
        file: what it is called in messages.

    Raises:
        DefinitionErrors: everything that `ipaas check` finds wrong with it.
    """
    workflow = load_workflow(text, file=file)
    if faults := check_workflow(workflow, DESCRIPTIONS):
        raise DefinitionErrors(faults)
    version = version_of(workflow, text, language="yaml", file=_published_from(workflow.name))
    return _in_notebook(compile_version(version))


def from_flow(flow: WorkflowFlow) -> NotebookWorkflow:
    """The workflow that a function decorated with `@workflow(…)` is.

    Raises:
        DefinitionErrors: its triggers or its `input` are wrong.
    """
    if faults := check_declaration(flow.declaration, DESCRIPTIONS):
        raise DefinitionErrors(faults)
    return _in_notebook(flow)


def _in_notebook(flow: WorkflowFlow) -> NotebookWorkflow:
    declaration = flow.program.declaration
    _made[flow.name] = flow
    return NotebookWorkflow(flow, Picture(flow.name, graph_of(declaration, flow.published.source, DESCRIPTIONS)))


def _published_from(name: str) -> str:
    """What the platform tells as its file: there is none, but modules beside the notebook can be imported."""
    return str(Path.cwd() / f"{name} (a notebook's cell)")
