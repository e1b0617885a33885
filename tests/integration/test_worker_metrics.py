"""What a worker counts, and where it shows it."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from flows.history import Execution, Status, StepExecution, Trigger
from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.worker.metrics import WorkerMetrics, serving_metrics

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXECUTION = Execution("e-1", "orders", "v1", Trigger.WEBHOOK, Status.RUNNING, None, NOW)


def settings(port: int | None) -> Settings:
    return Settings(_env_file=None, worker_metrics_port=port)  # type: ignore[call-arg]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_executions_and_steps_are_counted_and_timed():
    metrics, port = WorkerMetrics(), free_port()
    metrics.execution_ended(EXECUTION, Status.FAILED, 1.5)
    done = StepExecution("a", "http.request", Status.SUCCEEDED, 3, NOW, NOW + timedelta(seconds=2))
    metrics.step_ended(done)
    metrics.step_ended(StepExecution("b", "http.request", Status.SKIPPED, 0, NOW, NOW))
    with serving_metrics(metrics, settings(port)):
        told = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text.splitlines()
    assert 'ipaas_executions_ended_total{status="failed",workflow="orders"} 1.0' in told
    assert 'ipaas_execution_seconds_sum{workflow="orders"} 1.5' in told
    assert 'ipaas_steps_ended_total{action="http.request",status="succeeded"} 1.0' in told
    assert 'ipaas_steps_ended_total{action="http.request",status="skipped"} 1.0' in told
    assert 'ipaas_step_attempts_total{action="http.request"} 3.0' in told
    assert 'ipaas_step_seconds_count{action="http.request"} 1.0' in told
    assert 'ipaas_step_seconds_sum{action="http.request"} 2.0' in told
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)


def test_without_a_port_nothing_is_served():
    with serving_metrics(WorkerMetrics(), settings(None)):
        pass


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"IPAAS_WORKER_METRICS_PORT: can't use 127.0.0.1:{port}"):
            serving_metrics(WorkerMetrics(), settings(port)).__enter__()
