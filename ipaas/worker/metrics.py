"""What a worker counts, in Prometheus' terms, and the small server that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, start_http_server

from flows.history import Execution, PollState, Status, StepExecution
from foundation.errors import ConfigurationError
from foundation.settings import Settings

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class WorkerMetrics:
    """The `Meter` of a worker; its own registry, as the gateway's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._executions = Counter(
            "ipaas_executions_ended", "Executions ended here.", ("workflow", "status"), registry=self.registry
        )
        self._steps = Counter("ipaas_steps_ended", "Steps ended here.", ("action", "status"), registry=self.registry)
        self._execution_seconds = Histogram(
            "ipaas_execution_seconds", "From begun to ended.", ("workflow",), buckets=BUCKETS, registry=self.registry
        )
        self._step_seconds = Histogram(
            "ipaas_step_seconds",
            "From started to ended, retries included.",
            ("action",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._polls = Counter(
            "ipaas_polls_ended", "Polls ended here.", ("workflow", "poll", "status"), registry=self.registry
        )
        self._attempts = Counter(
            "ipaas_step_attempts", "Attempts of the steps ended here.", ("action",), registry=self.registry
        )

    def execution_ended(self, execution: Execution, status: Status, seconds: float) -> None:
        self._executions.labels(execution.workflow, status).inc()
        self._execution_seconds.labels(execution.workflow).observe(seconds)

    def poll_ended(self, poll: PollState, well: bool) -> None:
        self._polls.labels(poll.workflow, poll.source, "succeeded" if well else "failed").inc()

    def step_ended(self, step: StepExecution) -> None:
        self._steps.labels(step.action, step.status).inc()
        self._attempts.labels(step.action).inc(step.attempts)
        if step.attempts and step.started_at and step.finished_at:
            self._step_seconds.labels(step.action).observe((step.finished_at - step.started_at).total_seconds())


@contextmanager
def serving_metrics(metrics: WorkerMetrics, settings: Settings) -> Iterator[None]:
    """Shows them on `IPAAS_WORKER_METRICS_PORT`, if it is set, from a thread of its own.

    Raises:
        ConfigurationError: the port can't be used.
    """
    if settings.worker_metrics_port is None:
        yield
        return
    host, port = settings.worker_metrics_host, settings.worker_metrics_port
    try:
        server, thread = start_http_server(port, host, registry=metrics.registry)
    except OSError as error:
        raise ConfigurationError(f"IPAAS_WORKER_METRICS_PORT: can't use {host}:{port}: {error.strerror}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
