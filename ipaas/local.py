"""Executions in this process alone: no server, nothing stored. `ipaas run --local` and `ipaas run --dry-run`.

Both run the very code that a worker runs; what differs is passed in: a history in memory, and in a dry run an HTTP
transport that notes each request instead of sending it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx

from blocks import Credential, Keyring, PrefectCredentials
from connectors.kit.call import CredentialSource, Services, current_call
from connectors.kit.http_client import new_client
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
from flows.on_prefect.process import use_runtime
from foundation.clock import SystemClock
from foundation.errors import CredentialError
from foundation.masking import MASK, Masker, process_masker
from foundation.settings import Settings
from ipaas.connection import prefect

C = TypeVar("C", bound=Credential)

_NOT_SHOWN: Final = frozenset({"accept", "accept-encoding", "connection", "content-length", "host", "user-agent"})
"""What every request has."""
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
    credentials = PrefectCredentials(connect=prefect)
    async with (
        new_client(egress_allow=settings.egress_allow) as http,
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
        _runtime(settings, http, _StandIns(masker), masker) as runtime,
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
        content = await request.aread()
        mask = self._masker.mask
        shown = {
            name: MASK if name in _SECRET_HEADERS else mask(value)
            for name, value in request.headers.items()
            if name not in _NOT_SHOWN
        }
        body = self._masker.mask_json(_readable(content))
        self._requests[current_call.get().path] = Request(request.method, mask(str(request.url)), shown, body)
        raise _NotSent


def _readable(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")


async def _without_sending(invocation: Invocation, attempts: Attempts) -> Any:
    """Gives a step a placeholder where its action would have sent something."""
    try:
        return await call_directly(invocation, attempts)
    except _NotSent:
        return Placeholder(f"<{invocation.path}.output>")


class _StandIns:
    """For every credential that is asked for, one of the right form, whose secrets are nobody's."""

    def __init__(self, masker: Masker) -> None:
        self._masker, self._keyring = masker, Keyring.generate()

    async def get(self, name: str, kind: type[C]) -> C:
        values = {
            field.name: (kind.model_fields[field.name].examples or [f"stand-in-for-{field.name}-of-{name}"])[0]
            for field in kind.describe_fields()
            if field.required
        }
        try:
            credential = kind.from_values(values, keyring=self._keyring, masker=self._masker)
        except CredentialError as error:
            raise CredentialError(
                f"no dry run with credentials of type {kind.get_block_type_slug()}; their fields lack examples: {error}"
            ) from None
        credential.open_all()
        return credential
