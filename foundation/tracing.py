"""Traces by OpenTelemetry: one from the hook through the execution and its steps to each outgoing request.

They are on when the environment names a collector, with OpenTelemetry's own variables:
https://opentelemetry.io/docs/specs/otel/protocol/exporter/. When they are off, a span is nothing and no request carries
a `traceparent` (https://www.w3.org/TR/trace-context/).

Spans name things and never quote data: no URL, header or body. An error is noted by its code and its masked message,
without the traceback, which may show what a workflow works with.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import context, trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from foundation.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = [
    "Span",
    "SpanKind",
    "annotate",
    "current_span",
    "flush_traces",
    "go_on_below",
    "mark_failed",
    "set_up_tracing",
    "span",
    "traceparent",
    "use",
]

SERVICE_NAME: Final = "prefect-ipaas"
PROTOCOL: Final = "http/protobuf"

_TRACEPARENT: Final = "traceparent"
_propagator: Final = TraceContextTextMapPropagator()
_provider: trace.TracerProvider | None = None
_tracer: trace.Tracer | None = None
"""None: tracing is off."""


def set_up_tracing() -> None:
    """Turns tracing on if the environment asks for it; called wherever a process starts, as often as that is.

    A tracer provider that is set already (`opentelemetry-instrument` sets one) is used as it is. Otherwise ours becomes
    the process's, so that the spans that Prefect makes of its runs belong to the same traces.

    Raises:
        ConfigurationError: traces are asked for and can't be sent; the message says what to do.
    """
    global _provider, _tracer
    variable = _asked_by()
    if variable is None or _tracer is not None:
        return
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(_new_provider(variable))
    _provider = trace.get_tracer_provider()
    _tracer = _provider.get_tracer(SERVICE_NAME)


@contextmanager
def use(provider: trace.TracerProvider | None) -> Iterator[None]:
    """Traces with this provider inside the block, or not at all; for tests."""
    global _provider, _tracer
    before = _provider, _tracer
    _provider, _tracer = provider, provider.get_tracer(SERVICE_NAME) if provider else None
    try:
        yield
    finally:
        _provider, _tracer = before


@contextmanager
def span(
    name: str,
    attributes: Mapping[str, str | int] | None = None,
    *,
    parent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    """A span around the block, below the current one.

    Args:
        parent: the `traceparent` of a span in another process, for where there is no current one.
    """
    if _tracer is None:
        yield INVALID_SPAN
        return
    around = None
    if parent and not trace.get_current_span().get_span_context().is_valid:
        around = _propagator.extract({_TRACEPARENT: parent})
    with _tracer.start_as_current_span(
        name, around, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as started:
        yield started


def current_span() -> Span:
    return trace.get_current_span()


def go_on_below(current: Span) -> None:
    """Spans that this task begins are below that one from now on; for code that no block can stand around."""
    if _tracer is not None:
        context.attach(trace.set_span_in_context(current))


def traceparent() -> str | None:
    """The current span for whoever goes on elsewhere, as the W3C header has it; None when tracing is off."""
    if _tracer is None:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(_TRACEPARENT)


def annotate(attributes: Mapping[str, str | int]) -> None:
    """Adds attributes to the current span."""
    if _tracer is not None:
        trace.get_current_span().set_attributes(attributes)


def mark_failed(code: str, message: str | None = None) -> None:
    """The current span failed, with this error's code and its (masked) message."""
    if _tracer is not None:
        current = trace.get_current_span()
        current.set_attribute("error.type", code)
        current.set_status(Status(StatusCode.ERROR, message))


def flush_traces() -> None:
    """Sends what has not been sent; for a process that is ended by a signal.

    Blocks; while the collector is away, for as long as OTEL_EXPORTER_OTLP_TIMEOUT (10 s).
    """
    flush = getattr(_provider, "force_flush", None)
    if flush:
        flush()


def _asked_by() -> str | None:
    """The variable that turns tracing on."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((name for name in names if os.environ.get(name, "").strip()), None)


def _new_provider(variable: str) -> TracerProvider:
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(name, "").strip()
        if protocol and protocol != PROTOCOL:
            raise ConfigurationError(
                f"{name} is {protocol}: traces are sent by {PROTOCOL} only (a collector's port 4318, as a rule)"
            )
        if protocol:
            break
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME as NAME
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigurationError(
            f"{variable} asks for traces, but what sends them is not installed: run "
            "`pip install 'prefect-ipaas[otel]'` (in a checkout: `.venv/bin/pip install --editable '.[otel]'`)"
        ) from None
    resource = Resource.create()  # with what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say
    if str(resource.attributes.get(NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({NAME: SERVICE_NAME}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
