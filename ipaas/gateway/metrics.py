"""What the gateway counts, in Prometheus' terms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from blocks.token_state import TokenState
from flows.history import HistoryStore, PollState
from foundation.clock import Clock
from foundation.errors import IpaasError

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
REREAD = timedelta(seconds=5)
"""How old what is read from the history may be: however often /metrics is asked for, the database has its rest."""


class Metrics:
    """One set per gateway; its own registry, so that several live in one process (tests)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(name, documentation, labels, registry=self.registry)

        def gauge(name: str, documentation: str, *labels: str) -> Gauge:
            return Gauge(name, documentation, labels, registry=self.registry)

        self.accepted = counter("ipaas_events_accepted", "Events stored.", "workflow")
        self.duplicates = counter("ipaas_events_duplicate", "Deliveries that had been accepted before.", "workflow")
        self.ignored = counter("ipaas_events_ignored", "Events that the webhook's `when` did not want.", "workflow")
        self.undecided = counter(
            "ipaas_when_failed", "Events accepted because their webhook's `when` could not be decided.", "workflow"
        )
        self.rejected = counter("ipaas_events_rejected", "Requests to /hooks not accepted, by reason.", "reason")
        self.unverified = counter("ipaas_events_unverified", "Deliveries refused with 401.", "workflow", "reason")
        self.handshakes = counter("ipaas_handshakes", "Handshakes answered.", "workflow")
        self.empty_dedupe = counter("ipaas_dedupe_empty", "Events whose `dedupe` came out empty.", "workflow")
        self.faulty_keys = counter("ipaas_keys_faulty", "Keys and priorities that could not be evaluated.", "workflow")
        self.hung_up = counter("ipaas_senders_hung_up", "Senders that left while waiting for a result.", "workflow")
        self.connections_refused = counter("ipaas_connections_refused", "Connections ended by the server.", "reason")
        self.dispatched = counter("ipaas_executions_dispatched", "Executions handed to Prefect.")
        self.body_bytes = gauge("ipaas_body_bytes", "Bytes of request bodies that are held.")
        self.storage_up = gauge("ipaas_storage_up", "Whether the history's database answered, 1 or 0.")
        self.backlog = gauge("ipaas_backlog", "Executions accepted and not begun.", "workflow")
        self.oldest = gauge("ipaas_backlog_oldest_seconds", "Age of the oldest execution that is not begun.")
        self.executions = gauge("ipaas_executions", "Executions that have not ended, by status.", "status")
        self.poll_age = gauge(
            "ipaas_poll_age_seconds", "How long ago a poll went well last, of active workflows.", "workflow", "poll"
        )
        self.poll_failures = gauge("ipaas_poll_failures", "How often it has failed since.", "workflow", "poll")
        self.poll_frozen = gauge("ipaas_poll_frozen", "1: none has gone well for long.", "workflow", "poll")
        self.lost = gauge("ipaas_credential_lost", "1: a person must connect it again.", "credential", "type")
        self.accept_seconds = Histogram(
            "ipaas_accept_seconds", "From the request's headers to durable.", buckets=BUCKETS, registry=self.registry
        )
        self.dispatch_seconds = Histogram(
            "ipaas_dispatch_seconds", "From accepted to handed to Prefect.", buckets=BUCKETS, registry=self.registry
        )

    def show_polls(self, polls: Sequence[PollState]) -> None:
        """Replaces what was shown of polls."""
        for gauge in (self.poll_age, self.poll_failures, self.poll_frozen):
            gauge.clear()
        for poll in polls:
            if poll.active:
                self.poll_age.labels(poll.workflow, poll.source).set(poll.age)
                self.poll_failures.labels(poll.workflow, poll.source).set(poll.failures)
                self.poll_frozen.labels(poll.workflow, poll.source).set(poll.is_frozen)

    def show_tokens(self, states: Sequence[TokenState]) -> None:
        """Replaces what was shown of credentials that get their own tokens."""
        self.lost.clear()
        for state in states:
            self.lost.labels(state.credential, state.type).set(state.is_lost)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class FromHistory:
    """The metrics that the history knows: read when asked for, kept for a while."""

    def __init__(self, metrics: Metrics, store: HistoryStore, clock: Clock) -> None:
        self._metrics, self._store, self._clock = metrics, store, clock
        self._next: datetime | None = None

    async def refresh(self) -> None:
        """What can't be read now is left out, rather than told as it once was."""
        now, metrics = self._clock.now(), self._metrics
        if self._next and now < self._next:
            return
        self._next = now + REREAD
        try:
            backlog, counts = await self._store.backlog(), await self._store.counts(ended=False)
            oldest, polls = await self._store.oldest_accepted(), await self._store.polls()
            tokens = await self._store.tokens()
        except IpaasError:
            backlog, counts, oldest, polls, tokens = {}, {}, None, (), ()
            metrics.storage_up.set(0)
        else:
            metrics.storage_up.set(1)
        metrics.backlog.clear()
        metrics.executions.clear()
        for workflow, waiting in backlog.items():
            metrics.backlog.labels(workflow).set(waiting)
        for status, count in counts.items():
            metrics.executions.labels(status).set(count)
        metrics.show_polls(polls)
        metrics.show_tokens(tokens)
        metrics.oldest.set((now - oldest).total_seconds() if oldest else 0)
