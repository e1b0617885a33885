"""What the gateway counts, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One set per gateway; its own registry, so that several live in one process (tests)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(name, documentation, labels, registry=self.registry)

        def gauge(name: str, documentation: str, *labels: str) -> Gauge:
            return Gauge(name, documentation, labels, registry=self.registry)

        self.accepted = counter("ipaas_events_accepted", "Events stored and answered with 202.", "workflow")
        self.unverified = counter("ipaas_events_unverified", "Deliveries refused with 401.", "workflow", "reason")
        self.duplicates = counter("ipaas_events_duplicate", "Deliveries that had been accepted before.", "workflow")
        self.rejected = counter("ipaas_events_rejected", "Requests to /hooks not accepted, by reason.", "reason")
        self.handshakes = counter("ipaas_handshakes", "Handshakes answered.", "workflow")
        self.empty_dedupe = counter("ipaas_dedupe_empty", "Events whose `dedupe` came out empty.", "workflow")
        self.dispatched = counter("ipaas_executions_dispatched", "Executions handed to Prefect.")
        self.backlog = gauge("ipaas_backlog", "Executions accepted and not begun.", "workflow")
        self.oldest = gauge("ipaas_backlog_oldest_seconds", "Age of the oldest execution that is not begun.")
        self.executions = gauge("ipaas_executions", "Executions in the history, by status.", "status")
        self.accept_seconds = Histogram(
            "ipaas_accept_seconds", "From the request's headers to its answer.", buckets=BUCKETS, registry=self.registry
        )
        self.dispatch_seconds = Histogram(
            "ipaas_dispatch_seconds", "From accepted to handed to Prefect.", buckets=BUCKETS, registry=self.registry
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)
