"""Executions in this process alone: no server, nothing stored. `ipaas run --local` and `ipaas run --dry-run`.

Both run the very code that a worker runs; what differs is passed in: a history in memory, and in a dry run an HTTP
transport that notes each request instead of sending it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from blocks import PrefectCredentials
from connectors.kit.call import CredentialSource, Services
from connectors.kit.http_client import network, new_client
from connectors.kit.usable_credentials import usable_credentials
from flows.engine.inline import run_inline
from flows.engine.invoke import Attempts, Invocation, Invoke, call_directly
from flows.engine.outside import HistoryOutside
from flows.engine.parking import Parking
from flows.engine.program import Program
from flows.engine.runtime import Runtime
from flows.expressions import Placeholder, render_template
from flows.history import Execution, MemoryStore, NewWait, Status, WaitKind, WorkflowVersion
from flows.language.event import Event
from flows.language.step import Answer, Ended
from flows.on_prefect.compile import compile_version
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.process import tokens_of_platform, use_runtime
from flows.testing.case_text import case_of_exchanges
from flows.testing.recording import RecordingTransport, UsedCredentials
from flows.testing.requests import EVERY_REQUEST_HAS, noted
from flows.testing.stand_ins import StandIns
from foundation.clock import SystemClock
from foundation.masking import MASK, Masker, process_masker
from foundation.settings import Settings
from ipaas.connection import prefect

_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


@dataclass(frozen=True)
class Request:
    """What a step would send. Secrets are masked; `body` is parsed JSON where it is JSON."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any


@dataclass
class DryRun:
    """What a dry run found: the execution as far as it went, and each step's request."""

    execution: Execution
    requests: dict[str, Request] = field(default_factory=dict)


async def run_local(flow: WorkflowFlow, event: Event, settings: Settings) -> Execution:
    """Runs the workflow for this event, with its retries and timeouts.

    Credentials come from the running platform; a step that needs one fails when there is no platform.
    """
    async with _of_platform(settings) as credentials:
        return await _run_here(flow, event, settings, network(settings.egress_allow), credentials)


async def run_and_record(flow: WorkflowFlow, event: Event, settings: Settings) -> tuple[Execution, dict[str, Any]]:
    """As `run_local`; and a test case that has the requests and answers, secrets masked."""
    transport = RecordingTransport(network(settings.egress_allow))
    async with _of_platform(settings) as credentials:
        used = UsedCredentials(credentials)
        execution = await _run_here(flow, event, settings, transport, used)
    return execution, case_of_exchanges(execution, transport.exchanges, used.used, process_masker)


@asynccontextmanager
async def _of_platform(settings: Settings) -> AsyncIterator[CredentialSource]:
    """The running platform's credentials. Their tokens are asked for beside what a workflow sends: no case has them."""
    async with tokens_of_platform(settings) as tokens, new_client(egress_allow=settings.egress_allow) as http:
        stored, clock = PrefectCredentials(connect=prefect), SystemClock()
        async with usable_credentials(stored, tokens, http, settings, clock=clock, masker=process_masker) as usable:
            yield usable


async def _run_here(
    flow: WorkflowFlow,
    event: Event,
    settings: Settings,
    transport: httpx.AsyncBaseTransport,
    credentials: CredentialSource,
) -> Execution:
    async with (
        new_client(transport) as http,
        _runtime(settings, http, credentials, process_masker) as runtime,
    ):
        return await _run(runtime, flow, event, call_directly)


async def dry_run(flow: WorkflowFlow, event: Event, settings: Settings) -> DryRun:
    """Runs the workflow for this event without sending anything.

    Each step that would send a request gets a placeholder as its result. Held back is what actions send with their HTTP
    client; a Python workflow's own code runs as it is.
    """
    masker = Masker()
    requests: dict[str, Request] = {}
    async with (
        new_client(_NotingTransport(requests, masker)) as http,
        _runtime(settings, http, StandIns(masker), masker) as runtime,
    ):
        runtime.outside = _NobodyOutside
        return DryRun(await _run(runtime, flow, event, _without_sending), requests)


@asynccontextmanager
async def _runtime(
    settings: Settings, http: httpx.AsyncClient, credentials: CredentialSource, masker: Masker
) -> AsyncIterator[Runtime]:
    clock = SystemClock()
    services = Services(
        http=http,
        credentials=credentials,
        clock=clock,
        masker=masker,
        render=render_template,
        connectors=settings.connectors,
    )
    async with Runtime(store=MemoryStore(clock), services=services, clock=clock) as runtime:
        with use_runtime(runtime):
            yield runtime


async def _run(runtime: Runtime, flow: WorkflowFlow, event: Event, invoke: Invoke) -> Execution:
    return await run_inline(runtime, flow.program, event, program_of=_program_of, invoke=invoke)


def _program_of(version: WorkflowVersion) -> Program:
    return compile_version(version).program


class _NobodyOutside(HistoryOutside):
    """In a dry run nobody is told anything, and whatever is waited for has come."""

    async def wait(self, wait: NewWait, parking: Parking) -> Answer | None:
        if wait.kind is WaitKind.TIME:
            return None
        came = Placeholder(f"<{wait.path}.output>")
        body = {"approved": True, "form": came} if wait.kind is WaitKind.APPROVAL else came
        return Answer(body, None, self._runtime.clock.now())

    async def signal(self, name: str, body: Any) -> bool:
        return True

    async def start(self, workflow: str, body: Any, path: str, *, answers: bool) -> str:
        return f"<{path}.execution_id>"

    async def ended(self, execution_id: str) -> Ended:
        return _Called(output=Placeholder(execution_id.replace("execution_id", "output")))


@dataclass(frozen=True)
class _Called:
    output: Any
    status: str = Status.SUCCEEDED
    error: Any = None


class _NotSent(BaseException):
    """A request was noted. No `Exception`, so that no action takes it for a failure of the other system."""


class _NotingTransport(httpx.AsyncBaseTransport):
    def __init__(self, requests: dict[str, Request], masker: Masker) -> None:
        self._requests, self._masker = requests, masker

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent, mask = noted(request, await request.aread()), self._masker.mask
        shown = {
            name: MASK if name in _SECRET_HEADERS else mask(value)
            for name, value in sent.headers.items()
            if name not in EVERY_REQUEST_HAS
        }
        shown_body = self._masker.mask_json(sent.body)
        self._requests[sent.step or ""] = Request(sent.method, mask(sent.url), shown, shown_body)
        raise _NotSent


async def _without_sending(invocation: Invocation, attempts: Attempts) -> Any:
    """Gives a step a placeholder where its action would have sent something."""
    try:
        return await call_directly(invocation, attempts)
    except _NotSent:
        return Placeholder(f"<{invocation.path}.output>")
