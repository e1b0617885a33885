"""Accepting: many events and their executions with one statement a table, each delivery once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, delete, insert
from uuid_utils import uuid7

from flows.history import payloads, reads
from flows.history.database import upsert
from flows.history.models import deliveries, events, executions, step_executions, to_document
from flows.history.payloads import Placed
from flows.history.records import Accepted, Limits, NewExecution, Status
from flows.history.rows import Row, step_row


@dataclass(frozen=True)
class Arrival:
    """A `NewExecution` as rows."""

    execution: Row
    event: Row
    steps: Sequence[Row]
    delivery: Row | None
    placed: Placed

    @classmethod
    def of(cls, new: NewExecution, limits: Limits) -> Arrival:
        placed = Placed(new.id, limits.inline_bytes)
        event = {"id": str(uuid7()), "document": placed.place(to_document(new.event))}
        execution = {
            "id": new.id,
            "workflow": new.workflow,
            "version": new.version,
            "trigger": new.trigger.value,
            "status": Status.ACCEPTED.value,
            "event_id": event["id"],
            "accepted_at": new.accepted_at,
            "flow_run_id": new.flow_run_id,
            "dispatched_at": new.accepted_at if new.flow_run_id else None,
            "replay_of": new.replay_of,
            "parent_id": new.parent_id,
            "trace": new.trace,
            "runs": 0,
        }
        delivery = None
        if new.dedupe_key is not None:
            digest = hashlib.sha256(new.dedupe_key.encode("utf-8", "surrogatepass")).hexdigest()
            delivery = {"key": digest, "execution_id": new.id, "expires_at": new.dedupe_until}
        steps = [step_row(new.id, step, limits, placed.place) for step in new.steps]
        return cls(execution, event, steps, delivery, placed)

    @property
    def id(self) -> str:
        return cast(str, self.execution["id"])

    @property
    def key(self) -> str | None:
        return self.delivery["key"] if self.delivery else None


@dataclass(frozen=True)
class Arrivals:
    """One call of `accept`."""

    now: datetime
    arrivals: Sequence[Arrival]


def accept(connection: Connection, calls: Sequence[Arrivals]) -> list[list[Accepted]]:
    """All calls' arrivals with one statement a table."""
    arrivals = [arrival for call in calls for arrival in call.arrivals]
    holders = _take_keys(connection, arrivals, now=max(call.now for call in calls))
    first = [arrival for arrival in arrivals if holders.get(arrival.key, arrival) is arrival]
    stored = _insert(connection, first)

    def answer(arrival: Arrival) -> Accepted:
        holder = holders.get(arrival.key, arrival)
        if holder is not arrival:
            return Accepted(holder.id if isinstance(holder, Arrival) else holder, duplicate=True)
        known = arrival.id not in stored
        stored.discard(arrival.id)
        return Accepted(arrival.id, duplicate=known)

    return [[answer(arrival) for arrival in call.arrivals] for call in calls]


def _take_keys(
    connection: Connection, arrivals: Sequence[Arrival], now: datetime
) -> Mapping[str | None, Arrival | str]:
    """Who holds each dedupe key: the first arrival with it, or the id of an execution that was there before."""
    firsts: dict[str, Arrival] = {}
    for arrival in arrivals:
        if arrival.key is not None:
            firsts.setdefault(arrival.key, arrival)
    if not firsts:
        return {}
    statement = upsert(connection, deliveries)
    statement = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={"execution_id": statement.excluded.execution_id, "expires_at": statement.excluded.expires_at},
        where=deliveries.c.expires_at <= now,
    )
    rows = [arrival.delivery for _, arrival in sorted(firsts.items()) if arrival.delivery]
    taken = set(connection.execute(statement.returning(deliveries.c.key), rows).scalars())
    holders: dict[str | None, Arrival | str] = {key: arrival for key, arrival in firsts.items() if key in taken}
    lost = sorted(firsts.keys() - taken)
    if lost:  # a rival that was still writing has committed by now: the insert waited for it
        holders.update(reads.holders(connection, lost))
    return holders


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
    payloads.keep(connection, [by_event[event_id].placed for event_id in by_event if event_id in stored])
    return {by_event[event_id].id for event_id in stored}
