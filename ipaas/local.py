"""Executions in this process alone: no server, nothing stored. `ipaas run --local` and `ipaas run --dry-run`.

Both run the very code that a worker runs; what differs is passed in: a history in memory, and in a dry run an HTTP
transport that notes each request instead of sending it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx

from blocks import Credential, Keyring, PrefectCredentials
from connectors.kit.action import Action
from connectors.kit.call import CredentialSource, Services, current_call, current_runner
from connectors.kit.http_client import new_client
from flows.engine.execution import Body, run_execution
from flows.engine.runtime import Runtime, use_runtime
from flows.engine.step import RecordedSteps, current_plan
from flows.expressions import Placeholder, render_template
from flows.history import Execution, MemoryStore
from flows.language.event import Event
from flows.on_prefect.flow import WorkflowFlow
from foundation.clock import SystemClock
from foundation.errors import CredentialError, IpaasError
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
        return await _run(runtime, flow, event, flow.body)


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

        async def body(event: Event, execution: Execution, steps: RecordedSteps) -> Any:
            token = current_runner.set(_DryRunner(steps))
            try:
                return await flow.body(event, execution, steps)
            finally:
                current_runner.reset(token)

        return DryRun(await _run(runtime, flow, event, body), requests)


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


async def _run(runtime: Runtime, flow: WorkflowFlow, event: Event, body: Body) -> Execution:
    failure: Exception | None = None
    try:
        await run_execution(flow.published, flow.declaration.timeout, event, body)
    except Exception as error:  # noqa: BLE001 - the execution says how it failed
        failure = error
    page = await runtime.store.executions(workflow=flow.name, limit=500)
    own = next((one.id for one in reversed(page.items) if one.parent_id is None), None)
    execution = await runtime.store.execution(own) if own else None
    if execution is None or not execution.status.is_final:
        raise failure or IpaasError(f"workflow {flow.name} ended without an outcome")
    return execution


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
        self._requests[current_call.get().step_id] = Request(request.method, mask(str(request.url)), shown, body)
        raise _NotSent


def _readable(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")


class _DryRunner:
    """Gives a step a placeholder where its action would have sent something."""

    def __init__(self, steps: RecordedSteps) -> None:
        self._steps = steps

    async def run(self, action: Action[Any, Any], arguments: dict[str, Any], body: Callable[[], Awaitable[Any]]) -> Any:
        async def without_sending() -> Any:
            try:
                return await body()
            except _NotSent:
                plan = current_plan.get()
                return Placeholder(f"<{plan.step_id if plan else action.action_name}.output>")

        return await self._steps.run(action, arguments, without_sending)


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
