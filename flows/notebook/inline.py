"""One execution in the notebook's own process: the engine as everywhere, on a history in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx

from blocks import PrefectCredentials
from connectors.kit.call import CredentialSource, Services
from connectors.kit.http_client import new_client
from connectors.kit.usable_credentials import usable_credentials
from flows.drawing.states import Record, recorded, waiting
from flows.engine.inline import run_inline
from flows.engine.invoke import Attempts, Invocation, Invoke, call_directly
from flows.engine.journal import BufferedJournal, Journal
from flows.engine.runtime import Runtime
from flows.expressions import render_template
from flows.history import Execution, MemoryStore, Running, StepExecution
from flows.language.event import Event
from flows.notebook.platform import prefect
from flows.notebook.stubs import StandIns, Stubbed, Stubs
from flows.on_prefect.compile import compile_version
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.process import tokens_of_platform, use_runtime
from foundation.clock import Clock, SystemClock
from foundation.masking import Masker, process_masker
from foundation.settings import Settings

Watch = Callable[[Callable[[], Sequence[Record]]], None]
"""Is called when a step has begun or ended, with what gives all that is recorded by then."""


async def run_here(
    flow: WorkflowFlow, event: Event, *, others: Iterable[WorkflowFlow], stubs: Stubs | None, watch: Watch
) -> tuple[Execution, Sequence[Record]]:
    """Runs the workflow for this event, with its retries and timeouts; the execution, and its steps with their inputs.

    With stubs nothing is sent, credentials are stand-ins, and waiting takes no time. Without, everything is real, and
    credentials come from the running platform.

    Args:
        others: the workflows that it can call.
    """
    settings = Settings()
    stubbed = None if stubs is None else Stubbed(stubs)
    clock, masker = (_Skipping(), Masker()) if stubbed else (SystemClock(), process_masker)
    seen = _Seen(masker, stubbed.invoke if stubbed else call_directly, watch)
    async with AsyncExitStack() as opened:
        transport = httpx.MockTransport(stubbed.answer) if stubbed else None
        http = await opened.enter_async_context(new_client(transport, egress_allow=settings.egress_allow))
        credentials: CredentialSource = StandIns(masker)
        if not stubbed:
            tokens = await opened.enter_async_context(tokens_of_platform(settings))
            stored = PrefectCredentials(connect=prefect)
            credentials = await opened.enter_async_context(
                usable_credentials(stored, tokens, http, settings, clock=clock, masker=masker)
            )
        services = Services(
            http=http,
            credentials=credentials,
            clock=clock,
            masker=masker,
            render=render_template,
            connectors=settings.connectors,
        )
        store = MemoryStore(clock)
        for other in others:
            await store.publish(other.published)
        async with Runtime(store=store, services=services, clock=clock) as runtime:
            with use_runtime(runtime):
                execution = await run_inline(
                    runtime,
                    flow.program,
                    event,
                    program_of=lambda version: compile_version(version).program,
                    invoke=seen.invoke,
                    open_journal=seen.journal,
                )
    return execution, waiting(str(execution.status), seen.records())


class _Skipping(SystemClock):
    """A clock that goes on as time does, and jumps over what is waited for."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self._ahead

    async def sleep(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class _Seen:
    """What is seen of the execution while it runs: its steps, and what their actions are called with, masked."""

    def __init__(self, masker: Masker, invoke: Invoke, watch: Watch) -> None:
        self._masker, self._invoke, self._watch = masker, invoke, watch
        self._inputs: dict[str, Any] = {}
        self._root: str | None = None
        self._is_root = False
        self._steps: Mapping[str, StepExecution] = {}

    async def invoke(self, invocation: Invocation, attempts: Attempts) -> Any:
        is_seen = invocation.action is not None and self._is_root
        try:
            return await self._invoke(invocation, attempts)
        finally:  # not before: by now the secrets of its credential are known, and masked
            if is_seen:
                self._inputs[invocation.path] = self._masker.mask_json(dict(invocation.arguments))

    def journal(self, history: Running, execution: Execution, clock: Clock, lost: Callable[[], None]) -> Journal:
        """Of the execution, or of one that it calls: one at a time runs here."""
        self._root = self._root or execution.id
        self._is_root = execution.id == self._root
        if not self._is_root:
            return BufferedJournal(history, execution, clock, lost)
        journal = _Watched(history, execution, clock, lost)
        journal.told = partial(self._watch, self.records)
        self._steps = journal.steps
        return journal

    def records(self) -> list[Record]:
        return [replace(recorded(step), input=self._inputs.get(step.path)) for step in self._steps.values()]


class _Watched(BufferedJournal):
    """
    Attributes:
        told: is called when a step has begun or ended.
    """

    told: Callable[[], None]

    async def started(self, step: StepExecution, *, is_bound: bool) -> None:
        await super().started(step, is_bound=is_bound)
        self.told()

    async def ended(self, step: StepExecution) -> None:
        await super().ended(step)
        self.told()
