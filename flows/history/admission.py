"""`Admission` in SQL: limits are counted in the transaction that admits, so they hold over any number of processes.

Whoever admits has the workflow's row locked (SQLite has one writer anyway), and counts with a statement of its own
after that: so it sees what whoever held the lock before has admitted. Whoever has a workflow's row never waits for an
execution's (`SKIP LOCKED`), so the other order is free: `running.begin` locks the execution first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    Select,
    TextClause,
    bindparam,
    case,
    func,
    select,
    update,
)

from flows.history import payloads, reads, waits
from flows.history.arriving import Arriving
from flows.history.database_time import DatabaseTime
from flows.history.documents import HANDED_OVER_CHARACTERS, from_document, handed_over, to_document
from flows.history.ends import end
from flows.history.flow_control import QUEUE, limit_reached
from flows.history.lanes import MOST_AT_ONCE, locked, waiting_in
from flows.history.models import HAS_SLOT, IS_TO_DISPATCH, IS_WAITING, events, executions, workflows
from flows.history.passing import Passing
from flows.history.records import Admitted, Execution, Mode, Refusal, Status
from flows.history.rows import execution_of
from flows.history.rules import DEFAULT_LIMIT, DEFAULT_OVERFLOW, Rules, rules_of
from flows.history.turns import in_turn

Limits = Mapping[str, "Limit"]
"""By workflow."""
Candidate = Row[Any]
"""An execution's id and accepted_at."""


NO_RULES = Rules({})


@dataclass(frozen=True)
class Limit:
    """How many of a workflow's executions are admitted at once, and what becomes of the others.

    Attributes:
        rules: what else holds for those that have keys.
    """

    number: int = DEFAULT_LIMIT
    overflow: str = DEFAULT_OVERFLOW
    rules: Rules | None = None

    @property
    def cancels(self) -> bool:
        """Whatever waits beyond it is cancelled, with or without keys."""
        return self.overflow == "cancel" and (self.rules is None or "" not in self.rules.limits)

    @classmethod
    def of(cls, number: int, overflow: str, rules: str | None) -> Limit:
        return cls(number, overflow, None if rules is None else rules_of(from_document(rules), number))


def admit(
    connection: Connection, limit: int, claim: float, modes: Collection[str | None], time: DatabaseTime
) -> Admitted:
    """
    Args:
        modes: whose workflows say one of these; None: those that say nothing.
    """
    chosen = _choose(connection, limit, modes, time)
    return Admitted(_hand_over(connection, chosen.ids, chosen.now, chosen.now + timedelta(seconds=claim)), chosen.due)


def admit_and_begin(
    connection: Connection, limit: int, owner: str, lease: float, modes: Collection[str | None], time: DatabaseTime
) -> Admitted:
    chosen = _choose(connection, limit, modes, time)
    return Admitted(
        _begin(connection, chosen.ids, chosen.now, owner, chosen.now + timedelta(seconds=lease)), chosen.due
    )


@dataclass(frozen=True)
class _Chosen:
    """Who may start, in turn.

    Attributes:
        due: see `Admitted`.
    """

    ids: Sequence[str]
    now: datetime
    due: float | None = None


def _choose(connection: Connection, limit: int, modes: Collection[str | None], time: DatabaseTime) -> _Chosen:
    waits.wake(connection, limit, time)
    waiting = {row[0]: row[1] for row in connection.execute(_WAITING_WORKFLOWS) if row[2] in modes}
    to_dispatch = [row[0] for row in connection.execute(_TO_DISPATCH) if row[1] in modes]
    if not waiting and not to_dispatch:
        return _Chosen((), time.read(connection))
    limits = locked_limits(connection, list(waiting))
    rooms = room(connection, limits)
    now = time.read(connection)
    queues: list[list[Candidate]] = []
    passings: list[tuple[Passing, list[Candidate]]] = []
    for workflow in sorted({*waiting, *to_dispatch}):
        queue = _unclaimed(connection, workflow, limit, now) if workflow in to_dispatch else []
        vacant, its = min(rooms.get(workflow, 0), limit), limits.get(workflow, Limit())
        if workflow in waiting and (its.rules or waiting[workflow] != QUEUE):
            lanes = Arriving(connection, workflow, its.rules or NO_RULES, time, now)
            lanes.arrive()
            passing = Passing(lanes)
            passings.append((passing, passing.candidates(vacant)))
            queue += passings[-1][1]
        elif vacant:
            queue += locked(connection, waiting_in(workflow, QUEUE).limit(vacant))
        if queue:
            queues.append(queue)
        if its.cancels:
            _end_overflow(connection, workflow, its.number, rooms[workflow], time)
    queues.sort(key=lambda queue: (queue[0].accepted_at, queue[0].id))
    chosen = [one.id for one in in_turn(queues, limit)]
    for passing, passed in passings:
        passing.settle(set(chosen), passed)
    dues = [due for passing, _ in passings if (due := passing.due) is not None]
    soonest = max((min(dues) - now).total_seconds(), 0.0) if dues else None
    return _Chosen(chosen, now, soonest)


def queued_workflows(condition: TextClause) -> Select[tuple[str]]:
    """The workflows that have such executions. One look at the condition's index for each, however many it has."""
    first = select(executions.c.workflow).where(condition).order_by(executions.c.workflow).limit(1)
    found = select(first.scalar_subquery().label("workflow")).cte("found", recursive=True)
    following = first.where(executions.c.workflow > found.c.workflow).correlate(found).scalar_subquery()
    found = found.union_all(select(following).where(found.c.workflow.is_not(None)))
    return select(found.c.workflow).where(found.c.workflow.is_not(None))


def locked_limits(connection: Connection, names: Sequence[str]) -> Limits:
    """Nobody else admits executions of these workflows, or changes their limits, until the transaction ends."""
    if not names:
        return {}
    table = workflows.c
    columns = (table.name, table.concurrency_limit, table.overflow, table.flow_control)
    query = select(*columns).where(table.name.in_(names))
    known = connection.execute(query.order_by(table.name).with_for_update(key_share=True))
    return dict.fromkeys(names, Limit()) | {name: Limit.of(*its) for name, *its in known}


def room(connection: Connection, limits: Limits) -> dict[str, int]:
    """How many more executions of each may be admitted."""
    if not limits:
        return {}
    query = select(executions.c.workflow, func.count()).where(HAS_SLOT, executions.c.workflow.in_(limits))
    used = {row[0]: row[1] for row in connection.execute(query.group_by(executions.c.workflow))}
    return {workflow: max(limit.number - used.get(workflow, 0), 0) for workflow, limit in limits.items()}


def _with_last_lane() -> Select[tuple[str, str, str | None]]:
    found = queued_workflows(IS_WAITING).subquery()
    lane = select(executions.c.lane).where(IS_WAITING, executions.c.workflow == found.c.workflow)
    last = lane.order_by(executions.c.lane.desc()).limit(1).scalar_subquery()
    return select(found.c.workflow, last, _mode_of(found.c.workflow))


def _with_mode() -> Select[tuple[str, str | None]]:
    found = queued_workflows(IS_TO_DISPATCH).subquery()
    return select(found.c.workflow, _mode_of(found.c.workflow))


def _mode_of(workflow: ColumnElement[str]) -> ScalarSelect[str | None]:
    return select(workflows.c.mode).where(workflows.c.name == workflow).scalar_subquery()


_WAITING_WORKFLOWS, _TO_DISPATCH = _with_last_lane(), _with_mode()
"""Those that have executions that wait, each with the last lane that one of its waits in; and that have some to hand
over; with what they say of their mode. Built once: that takes as long as to ask."""


def _unclaimed(connection: Connection, workflow: str, limit: int, now: datetime) -> list[Candidate]:
    table = executions.c
    query = select(table.id, table.accepted_at).where(IS_TO_DISPATCH, table.workflow == workflow)
    query = query.where(table.claimed_until.is_(None) | (table.claimed_until <= now))
    return locked(connection, query.order_by(table.accepted_at, table.id).limit(limit))


def _end_overflow(connection: Connection, workflow: str, limit: int, room: int, time: DatabaseTime) -> None:
    beyond = locked(connection, waiting_in(workflow, QUEUE).offset(room).limit(MOST_AT_ONCE))
    end_beyond_limit(connection, [one.id for one in beyond if one.started_at is None], limit, time)


def end_beyond_limit(connection: Connection, execution_ids: Sequence[str], limit: int, time: DatabaseTime) -> None:
    end(connection, execution_ids, Status.CANCELLED, time, error=to_document(limit_reached(limit)))


def enter(
    connection: Connection, row: Mapping[Any, Any], limits: Limits, now: datetime, time: DatabaseTime
) -> Refusal | None:
    """Whether one that begins without having been admitted may; its row and the workflow's are locked."""
    limit, has_room = limits[row["workflow"]], room(connection, limits)[row["workflow"]] > 0
    refusal = None if has_room else Refusal.FULL
    if limit.rules or row["lane"] != QUEUE:
        lanes = Arriving(connection, row["workflow"], limit.rules or NO_RULES, time, now)
        lanes.arrive()
        refusal = Passing(lanes).enter(row["id"], has_room=has_room)
    if refusal is Refusal.FULL and not has_room and limit.cancels and row["started_at"] is None:
        end_beyond_limit(connection, [row["id"]], limit.number, time)
        return Refusal.ENDED
    return refusal


def _hand_over(connection: Connection, ids: Sequence[str], now: datetime, until: datetime) -> list[Execution]:
    if not ids:
        return []
    table = executions.c
    at, end_of_claim = _instant("at", now), _instant("u", until)
    made_by_prefect = table.flow_run_id.is_not(None)
    statement = (
        update(executions)
        .where(table.id.in_(ids))
        .values(
            admitted_at=func.coalesce(table.admitted_at, at),
            lane=QUEUE,
            claimed_until=case((made_by_prefect, None), else_=end_of_claim),
            dispatched_at=case((made_by_prefect, at), else_=table.dispatched_at),
        )
    )
    rows = {row["id"]: row for row in connection.execute(statement.returning(executions)).mappings()}
    small = case((func.length(events.c.document) <= HANDED_OVER_CHARACTERS, events.c.document))
    query = select(events.c.id, small).where(events.c.id.in_([row["event_id"] for row in rows.values()]))
    texts = {event_id: None if payloads.is_reference(text) else text for event_id, text in connection.execute(query)}
    return [execution_of(rows[id_], event=handed_over(texts[rows[id_]["event_id"]])) for id_ in ids]


def _begin(connection: Connection, ids: Sequence[str], now: datetime, owner: str, until: datetime) -> list[Execution]:
    """Those that Prefect made a run for are only admitted: they are begun by way of that."""
    if not ids:
        return []
    table = executions.c
    statement = update(executions).where(table.id.in_(ids), table.flow_run_id.is_(None))
    statement = statement.values(
        status=Status.RUNNING.value,
        mode=Mode.EXPRESS.value,
        admitted_at=func.coalesce(table.admitted_at, _instant("at", now)),
        started_at=func.coalesce(table.started_at, _instant("since", now)),
        begun_at=now,
        seen_at=now,
        runs=table.runs + 1,
        owner=owner,
        lease_until=until,
        claimed_until=None,
        lane=QUEUE,
    )
    rows = connection.execute(statement.returning(executions)).mappings().all()
    begun = {one.id: one for one in reads.whole(connection, rows)}
    begun |= {one.id: one for one in _hand_over(connection, [id_ for id_ in ids if id_ not in begun], now, now)}
    return [begun[id_] for id_ in ids]


def _instant(name: str, at: datetime) -> BindParameter[datetime]:
    return bindparam(name, at, executions.c.admitted_at.type)


def dispatched(connection: Connection, flow_runs: Mapping[str, str], time: DatabaseTime) -> None:
    if not flow_runs:
        return
    statement = (
        update(executions)
        .where(executions.c.id == bindparam("execution"))
        .values(
            flow_run_id=func.coalesce(executions.c.flow_run_id, bindparam("flow_run")),
            dispatched_at=time.read(connection),
            claimed_until=None,
        )
    )
    connection.execute(statement, [{"execution": id_, "flow_run": run} for id_, run in sorted(flow_runs.items())])


def release(connection: Connection, execution_ids: Sequence[str]) -> None:
    waiting = executions.c.id.in_(execution_ids) & (executions.c.status == Status.ACCEPTED)
    connection.execute(update(executions).where(waiting).values(claimed_until=None))
