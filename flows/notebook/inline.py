"""One execution in the notebook's own process: the engine as everywhere, on a history in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx

from blocks import PrefectCredentials
from connectors.kit.call import Services
from connectors.kit.http_client import new_client
from flows.drawing.states import Record, recorded
from flows.engine.execution import accept_event, run_execution
from flows.engine.invoke import Attempts, Invocation, call_directly
from flows.engine.journal import BufferedJournal
from flows.engine.runtime import Runtime
from flows.expressions import render_template
from flows.history import Execution, MemoryStore, StepExecution
from flows.language.event import Event
from flows.notebook.platform import prefect
from flows.notebook.stubs import StandIns, Stubbed, Stubs
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.process import use_runtime
from foundation.clock import SystemClock
from foundation.errors import IpaasError
from foundation.masking import Masker, process_masker
from foundation.settings import Settings

Watch = Callable[[Callable[[], Sequence[Record]]], None]
"""Is called when a step has begun or ended, with what gives all that is recorded by then."""


async def run_inline(
    flow: WorkflowFlow, event: Event, *, stubs: Stubs | None, watch: Watch
) -> tuple[Execution, Sequence[Record]]:
    """Runs the workflow for this event, with its retries and timeouts; the execution, and its steps with their inputs.

    With stubs nothing is sent, and credentials are stand-ins. Without, everything is real, and credentials come from
    the running platform.
    """
    settings, clock = Settings(), SystemClock()
    stubbed = None if stubs is None else Stubbed(stubs)
    masker = Masker() if stubbed else process_masker
    inputs: dict[str, Any] = {}
    journals: list[BufferedJournal] = []
    perform = stubbed.invoke if stubbed else call_directly

    def records() -> list[Record]:
        steps = journals[0].steps.values() if journals else ()
        return [replace(recorded(step), input=inputs.get(step.path)) for step in steps]

    async def invoke(invocation: Invocation, attempts: Attempts) -> Any:
        if invocation.action is not None:
            inputs[invocation.path] = masker.mask_json(dict(invocation.arguments))
        return await perform(invocation, attempts)

    def journal(*arguments: Any) -> BufferedJournal:
        journals.append(_Watched(*arguments, told=lambda: watch(records)))
        return journals[0]

    async with new_client(
        httpx.MockTransport(stubbed.answer) if stubbed else None, egress_allow=settings.egress_allow
    ) as http:
        services = Services(
            http=http,
            credentials=StandIns(masker) if stubbed else PrefectCredentials(connect=prefect),
            clock=clock,
            masker=masker,
            render=render_template,
            connectors=settings.connectors,
        )
        async with Runtime(store=MemoryStore(clock), services=services, clock=clock) as runtime:
            with use_runtime(runtime):
                execution_id = await accept_event(runtime, flow.program, event)
                await run_execution(runtime, execution_id, flow.program, invoke=invoke, open_journal=journal)
            execution = await runtime.store.execution(execution_id)
    if execution is None:
        raise IpaasError(f"workflow {flow.name} ended without an outcome")
    return execution, [replace(recorded(step), input=inputs.get(step.path)) for step in execution.steps]


class _Watched(BufferedJournal):
    def __init__(self, *arguments: Any, told: Callable[[], None]) -> None:
        super().__init__(*arguments)
        self._told = told

    async def started(self, step: StepExecution) -> None:
        await super().started(step)
        self._told()

    async def ended(self, step: StepExecution) -> None:
        await super().ended(step)
        self._told()
