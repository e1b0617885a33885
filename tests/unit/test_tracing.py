"""One trace from the hook to the outgoing request, when the environment asks for it; nothing at all otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import httpx
import pytest
from gateway_under_test import gateway
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prefect.client.schemas.objects import FlowRun

from blocks.source import MemoryCredentials
from connectors.kit.call import Services
from connectors.kit.http_client import new_client
from flows.engine.invoke import call_directly
from flows.engine.runtime import Runtime
from flows.expressions import render_template
from flows.history import Execution
from flows.on_prefect import run as run_in_prefect
from flows.on_prefect.compile import compile_version
from flows.on_prefect.internals import TRACE_LABEL
from flows.on_prefect.process import use_runtime
from flows.on_prefect.run import EXECUTION_LABEL
from foundation.errors import ConfigurationError, IpaasError
from foundation.masking import Masker
from foundation.tracing import set_up_tracing, span, use
from ipaas.admission.dispatcher import Dispatcher

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SENDERS_SPAN = "b7ad6b7169203331"
FROM_SENDER = {"traceparent": f"00-{TRACE_ID}-{SENDERS_SPAN}-01"}


@dataclass
class Other:
    """Another system: a real HTTP server, which answers in turn with `statuses` and then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@pytest.fixture
def other() -> Iterator[Other]:
    found = Other()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(found.statuses.pop(0) if found.statuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Not on the tests' output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield found
        server.shutdown()
        serving.join()


@dataclass
class Traced:
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [one for one in self.exporter.get_finished_spans() if one.name == name]

    def span(self, name: str) -> ReadableSpan:
        [found] = self.spans(name)
        return found


@pytest.fixture
def traced() -> Iterator[Traced]:
    found = Traced()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found.exporter))
    with use(provider):
        yield found
    provider.shutdown()


def to(other: Other, **step: Any) -> str:
    """A workflow that posts to the other system."""
    call = {"id": "tell", "uses": "http.request", "with": {"url": f"{other.url}/orders?key=query-1", "method": "POST"}}
    return f"name: orders\ntriggers: [{{webhook: {{auth: none}}}}]\nsteps: [{call | step}]\n"


async def handled(
    monkeypatch: pytest.MonkeyPatch,
    workflow: str,
    headers: Mapping[str, str] | None = None,
    *,
    worker: AbstractContextManager[None] | None = None,
) -> Execution:
    """What becomes of one delivery: it is accepted by the gateway, and run as Prefect's flow run would run it.

    Args:
        worker: what holds for the worker only.
    """
    async with gateway(workflow) as under_test:
        answer = await under_test.post({"card": "body-1"}, headers=headers)
        assert answer.status_code == 202
        [accepted] = await under_test.executions()
        run = FlowRun(flow_id=uuid4(), labels={EXECUTION_LABEL: accepted.id})
        monkeypatch.setattr(run_in_prefect, "current_flow_run", lambda: run)
        monkeypatch.setattr(run_in_prefect, "PrefectInvoke", lambda: call_directly)  # no server to tell of tasks
        known = await under_test.store.workflow("orders")
        assert known
        async with new_client() as http:
            services = Services(http, MemoryCredentials({}), under_test.clock, Masker(), render_template)
            runtime = Runtime(store=under_test.store, services=services, clock=under_test.clock)
            with use_runtime(runtime), worker or nullcontext(), suppress(IpaasError):
                await compile_version(known.current).fn()
        [ended] = await under_test.executions()
        assert ended.status.is_final
        return ended


def identity(one: ReadableSpan) -> tuple[str, str]:
    return f"{one.context.trace_id:032x}", f"{one.context.span_id:016x}"


def parent(one: ReadableSpan) -> str:
    assert one.parent
    return f"{one.parent.span_id:016x}"


async def test_one_trace_leads_from_the_sender_to_the_outgoing_request(
    monkeypatch: pytest.MonkeyPatch, traced: Traced, other: Other
) -> None:
    await handled(monkeypatch, to(other), FROM_SENDER)

    above = SENDERS_SPAN
    for name in ("receive", "execution", "step", "HTTP POST"):
        trace_id, span_id = identity(traced.span(name))
        assert (name, trace_id, parent(traced.span(name))) == (name, TRACE_ID, above)
        above = span_id
    assert other.headers[0]["traceparent"] == f"00-{TRACE_ID}-{above}-01"


async def test_spans_say_what_was_done(monkeypatch: pytest.MonkeyPatch, traced: Traced, other: Other) -> None:
    execution = await handled(monkeypatch, to(other))

    told = {name: dict(traced.span(name).attributes or {}) for name in ("receive", "execution", "step", "HTTP POST")}

    one = {"ipaas.workflow": "orders", "ipaas.execution": execution.id}
    assert told == {
        "receive": one | {"http.response.status_code": 202},
        "execution": one | {"ipaas.status": "succeeded"},
        "step": {
            "ipaas.step": "tell",
            "ipaas.action": "http.request",
            "ipaas.status": "succeeded",
            "ipaas.attempts": 1,
        },
        "HTTP POST": {
            "http.request.method": "POST",
            "server.address": "127.0.0.1",
            "http.response.status_code": 200,
        },
    }


async def test_without_a_senders_trace_the_hook_begins_one(
    monkeypatch: pytest.MonkeyPatch, traced: Traced, other: Other
) -> None:
    await handled(monkeypatch, to(other), {"traceparent": "not a trace"})

    receive = traced.span("receive")
    assert receive.parent is None
    assert other.headers[0]["traceparent"].split("-")[1] == identity(receive)[0]


async def test_every_attempt_is_a_span_of_its_own_and_carries_its_own_id(
    monkeypatch: pytest.MonkeyPatch, traced: Traced, other: Other
) -> None:
    other.statuses = [503]
    await handled(monkeypatch, to(other, retry={"attempts": 2}))

    sent = traced.spans("HTTP POST")
    assert [request["traceparent"].split("-")[2] for request in other.headers] == [identity(one)[1] for one in sent]
    assert [(one.attributes or {})["http.response.status_code"] for one in sent] == [503, 200]
    assert (traced.span("step").attributes or {})["ipaas.attempts"] == 2


async def test_a_failure_is_marked_with_its_code(monkeypatch: pytest.MonkeyPatch, traced: Traced, other: Other) -> None:
    other.statuses = [404]
    await handled(monkeypatch, to(other))

    for name in ("execution", "step", "HTTP POST"):
        failed = traced.span(name)
        assert (name, failed.status.status_code) == (name, StatusCode.ERROR)
        assert (failed.attributes or {})["error.type"] == "remote"
    assert traced.span("receive").status.status_code is StatusCode.UNSET


async def test_spans_show_no_data(monkeypatch: pytest.MonkeyPatch, traced: Traced, other: Other) -> None:
    other.statuses = [404]
    await handled(monkeypatch, to(other), {"authorization": "header-1"})

    shown = "".join(one.to_json() for one in traced.exporter.get_finished_spans())
    assert {secret for secret in ("query-1", "body-1", "header-1", "/orders") if secret in shown} == set()
    assert all(not one.events for one in traced.exporter.get_finished_spans())


async def test_a_refused_request_is_a_span_with_the_reason(traced: Traced) -> None:
    async with gateway() as under_test:
        await under_test.post({}, path="/hooks/unknown")

    assert traced.span("receive").attributes == {"ipaas.rejected": "unknown_path", "http.response.status_code": 404}


async def test_prefects_own_spans_are_told_the_trace(traced: Traced) -> None:
    created: list[dict[str, Any]] = []

    async def request(method: str, path: str, *, json: list[dict[str, Any]], **_: Any) -> httpx.Response:
        created.extend(json)
        return httpx.Response(200, json={"results": [{"flow_run_id": str(uuid4())} for _ in json]})

    async with gateway() as under_test:
        await under_test.post({}, headers=FROM_SENDER)
        await under_test.store.set_deployment("orders", str(uuid4()))
        client: Any = type("Client", (), {"request": staticmethod(request)})
        await Dispatcher(under_test.store, client).dispatch_once()

    assert [run["labels"][TRACE_LABEL].split("-")[1:3] for run in created] == [[*identity(traced.span("receive"))]]


# Off


async def test_without_being_asked_for_nothing_is_traced(monkeypatch: pytest.MonkeyPatch, other: Other) -> None:
    execution = await handled(monkeypatch, to(other), FROM_SENDER)

    assert execution.trace is None
    assert "traceparent" not in other.headers[0]


async def test_a_worker_that_does_not_trace_sends_no_header_for_a_gateway_that_does(
    monkeypatch: pytest.MonkeyPatch, traced: Traced, other: Other
) -> None:
    execution = await handled(monkeypatch, to(other), worker=use(None))

    assert execution.trace
    assert "traceparent" not in other.headers[0]
    assert [one.name for one in traced.exporter.get_finished_spans()] == ["receive"]


# Set up


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Without OpenTelemetry's variables, and with tracing off."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with use(None):
        yield monkeypatch


@pytest.mark.parametrize(
    "variables",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "true"}],
    ids=["nothing is set", "it is empty", "all of OpenTelemetry is off"],
)
def test_tracing_is_off(environment: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)

    set_up_tracing()

    with span("anything") as nothing:
        assert not nothing.is_recording()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_what_is_not_installed_is_named(environment: pytest.MonkeyPatch, variable: str) -> None:
    environment.setenv(variable, "http://127.0.0.1:9")
    environment.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(ConfigurationError, match=rf"^{variable} asks .* `pip install 'prefect-ipaas\[otel\]'`"):
        set_up_tracing()


def test_a_protocol_that_is_not_spoken_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    environment.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    with pytest.raises(ConfigurationError, match=r"^OTEL_EXPORTER_OTLP_PROTOCOL is grpc: .* by http/protobuf only"):
        set_up_tracing()


ONE_SPAN = "with span('one'): pass"
ONE_REQUEST = """
async def main():
    async with gateway() as under_test:
        await under_test.post({}, path="/hooks/orders?token=query-1")
        await under_test.http.get("/healthz")
asyncio.run(main())
"""


def sent_by_a_process(work: str, other: Other, **variables: str) -> ExportTraceServiceRequest:
    """What a process sends before it ends."""
    imports = (
        "import asyncio\nfrom gateway_under_test import gateway\nfrom foundation.tracing import set_up_tracing, span\n"
    )
    program = f"{imports}set_up_tracing()\nset_up_tracing()\n{work}"
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": other.url, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **given, **variables}, check=True, timeout=60)
    [body] = other.bodies
    return ExportTraceServiceRequest.FromString(body)


@pytest.mark.parametrize(
    ("variables", "service"),
    [({}, "prefect-ipaas"), ({"OTEL_SERVICE_NAME": "hooks"}, "hooks")],
    ids=["by default", "as the environment says"],
)
def test_spans_reach_the_collector_with_the_services_name(
    environment: pytest.MonkeyPatch, other: Other, variables: dict[str, str], service: str
) -> None:
    [batch] = sent_by_a_process(ONE_SPAN, other, **variables).resource_spans
    assert {one.key: one.value.string_value for one in batch.resource.attributes}["service.name"] == service
    assert [one.name for scope in batch.scope_spans for one in scope.spans] == ["one"]


def test_the_web_framework_adds_no_spans_of_its_own_which_would_show_the_url(
    environment: pytest.MonkeyPatch, other: Other
) -> None:
    sent = sent_by_a_process(ONE_REQUEST, other)
    spans = [one for batch in sent.resource_spans for scope in batch.scope_spans for one in scope.spans]

    assert [one.name for one in spans] == ["receive"]
    assert b"query-1" not in sent.SerializeToString()
