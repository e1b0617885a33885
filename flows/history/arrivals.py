"""Accepting: many events and their executions with one statement a table, each delivery once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, delete, insert
from uuid_utils import uuid7

from flows.history import flow_control, known_deliveries, payloads
from flows.history.database import upsert
from flows.history.documents import to_document
from flows.history.models import events, executions, step_executions
from flows.history.payloads import LargeDocuments
from flows.history.records import Accepted, Limits, NewExecution, Status
from flows.history.rows import Row, step_row


@dataclass(frozen=True)
class Arrival:
    """A `NewExecution` as rows."""

    execution: Row
    event: Row
    steps: Sequence[Row]
    deliveries: Sequence[Row]
    """One for each dedupe key."""
    large: LargeDocuments

    @classmethod
    def of(cls, new: NewExecution, limits: Limits) -> Arrival:
        large = LargeDocuments(new.id, limits.inline_bytes)
        event = {"id": str(uuid7()), "document": large.place(to_document(new.event))}
        lane, queued_at = flow_control.place(new.accepted_at, new.keys, new.priority)
        execution = {
            "id": new.id,
            "workflow": new.workflow,
            "version": new.version,
            "trigger": new.trigger.value,
            "status": Status.ACCEPTED.value,
            "event_id": event["id"],
            "accepted_at": new.accepted_at,
            "flow_run_id": new.flow_run_id,
            "replay_of": new.replay_of,
            "parent_id": new.parent_id,
            "parent_path": new.parent_path,
            "depth": new.depth,
            "trace": new.trace,
            "spent": 0.0,
            "runs": 0,
            "lane": lane,
            "queued_at": queued_at,
            "flow_keys": flow_control.to_text(new.keys, new.priority),
            "parked_runs": 0,
        }
        keys = dict.fromkeys(digest(key) for key in new.dedupe_keys)
        known_by = [{"key": key, "execution_id": new.id, "expires_at": new.dedupe_until} for key in keys]
        steps = [step_row(new.id, step, limits, large.place) for step in new.steps]
        return cls(execution, event, steps, known_by, large)

    @property
    def id(self) -> str:
        return cast(str, self.execution["id"])


@dataclass(frozen=True)
class Arrivals:
    """One call of `accept`."""

    now: datetime
    arrivals: Sequence[Arrival]


def accept(connection: Connection, calls: Sequence[Arrivals]) -> list[list[Accepted]]:
    """All calls' arrivals with one statement a table."""
    arrivals = [arrival for call in calls for arrival in call.arrivals]
    firsts = known_deliveries.take(connection, arrivals, now=max(call.now for call in calls))
    stored = _insert(connection, [arrival for arrival, first in zip(arrivals, firsts, strict=True) if first is None])

    def answer(arrival: Arrival, first: str | None) -> Accepted:
        if first is not None:
            return Accepted(first, duplicate=True)
        known = arrival.id not in stored
        stored.discard(arrival.id)
        return Accepted(arrival.id, duplicate=known)

    answers = iter([answer(arrival, first) for arrival, first in zip(arrivals, firsts, strict=True)])
    return [[next(answers) for _ in call.arrivals] for call in calls]


def _insert(connection: Connection, arrivals: Sequence[Arrival]) -> set[str]:
    """Stores them; the ids that were not known before."""
    if not arrivals:
        return set()
    connection.execute(insert(events), [arrival.event for arrival in arrivals])
    statement = upsert(connection, executions).on_conflict_do_nothing().returning(executions.c.event_id)
    by_event = {arrival.event["id"]: arrival for arrival in arrivals}
    rows = [arrival.execution for arrival in sorted(arrivals, key=lambda arrival: arrival.id)]
    stored = set(connection.execute(statement, rows).scalars())
    if len(stored) < len(arrivals):
        connection.execute(delete(events).where(events.c.id.in_(by_event.keys() - stored)))
    steps = [step for event_id in by_event if event_id in stored for step in by_event[event_id].steps]
    if steps:
        connection.execute(insert(step_executions), steps)
    payloads.keep(connection, [by_event[event_id].large for event_id in by_event if event_id in stored])
    return {by_event[event_id].id for event_id in stored}


def digest(key: str) -> str:
    """A key of any length and any character, as it is stored."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
