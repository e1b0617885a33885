"""`Running` in SQL: every write says which run of which process it belongs to, and changes nothing when that is over.

Rows of executions are locked before what depends on them is written, in the order of their ids: so under PostgreSQL's
READ COMMITTED, too, a take-over comes before a write, which then does nothing, or after it, and then sees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, column, select, update, values

from flows.history import admission, failure_triggers, payloads, reads, waits
from flows.history.database import upsert
from flows.history.database_time import DatabaseTime
from flows.history.documents import from_document
from flows.history.ends import ENDED, NOBODYS, UNFINISHED, end_open_steps, note_end
from flows.history.failed import FAILURES
from flows.history.flow_control import QUEUE
from flows.history.models import PlainText, executions, step_executions
from flows.history.payloads import LargeDocuments
from flows.history.records import Execution, Hold, Json, Limits, Mode, NewWait, Refusal, Status
from flows.history.rows import Row

_table = executions.c


def begin(
    connection: Connection, execution_id: str, flow_run_id: str | None, owner: str, lease: float, time: DatabaseTime
) -> Execution | Refusal:
    this = _table.id == execution_id
    row = connection.execute(select(executions).where(this).with_for_update()).mappings().first()
    if row is None:
        return Refusal.UNKNOWN
    status = Status(row["status"])
    if status.is_final:
        return Refusal.ENDED
    if status is Status.WAITING:
        return Refusal.WAITING
    is_queued = status is Status.ACCEPTED and row["admitted_at"] is None
    limits = admission.locked_limits(connection, [row["workflow"]] if is_queued else [])
    now = time.read(connection)
    if status is Status.RUNNING and row["owner"] != owner and row["lease_until"] and row["lease_until"] > now:
        return Refusal.HELD
    flow_run: Row = {} if flow_run_id is None else {"flow_run_id": flow_run_id}
    if is_queued and flow_run:
        connection.execute(update(executions).where(this).values(flow_run))
    if is_queued and (refusal := admission.enter(connection, row, limits, now, time)):
        return refusal
    begun: Row = {
        "status": Status.RUNNING.value,
        "mode": Mode.STANDARD.value,
        "admitted_at": row["admitted_at"] or now,
        "started_at": row["started_at"] or now,
        "begun_at": now,
        "seen_at": now,
        "spent": _spent(row),
        "runs": row["runs"] + 1,
        "owner": owner,
        "lease_until": now + timedelta(seconds=lease),
        "claimed_until": None,
        "lane": QUEUE,
    }
    connection.execute(update(executions).where(this).values(begun | flow_run))
    execution = reads.execution(connection, this)
    assert execution is not None  # noqa: S101 - its row is locked
    return execution


def _spent(row: Mapping[Any, Any]) -> float:
    """Seconds that it ran, the present run up to its last sign of life included."""
    begun_at, seen_at = row["begun_at"], row["seen_at"]
    present = (seen_at - begun_at).total_seconds() if begun_at and seen_at else 0.0
    return float(row["spent"] + max(present, 0.0))


@dataclass(frozen=True)
class Save:
    """Rows of steps, written for a hold, and the large documents of what is written with them."""

    hold: Hold
    steps: Sequence[Row]
    large: LargeDocuments


def save_steps(connection: Connection, saves: Sequence[Save]) -> list[bool]:
    """For each, whether its hold is the row's; the others write nothing."""
    held = _still_held(connection, {save.hold for save in saves})
    _write(connection, [save for save in saves if save.hold in held])
    return [save.hold in held for save in saves]


def _write(connection: Connection, saves: Sequence[Save]) -> None:
    """Writes what the executions, whose rows are locked, have done."""
    if steps := [step for save in saves for step in save.steps]:
        statement = upsert(connection, step_executions)
        changed = [name for name in steps[0] if name not in ("execution_id", "path")]
        statement = statement.on_conflict_do_update(
            index_elements=["execution_id", "path"], set_={name: statement.excluded[name] for name in changed}
        )
        connection.execute(statement, steps)
    payloads.keep(connection, [save.large for save in saves])


def _still_held(connection: Connection, holds: set[Hold]) -> set[Hold]:
    """Those of them that are still their rows', which stay so until the transaction ends."""
    ids = {hold.execution_id for hold in holds}
    query = select(_table.id, _table.owner, _table.runs).where(_table.id.in_(ids), _table.status == Status.RUNNING)
    # SHARE, not KEY SHARE: whoever takes the execution over updates its row, and must wait.
    rows = connection.execute(query.order_by(_table.id).with_for_update(read=True))
    return holds & {Hold(*row) for row in rows}


def finish(
    connection: Connection,
    save: Save,
    end: Row,
    time: DatabaseTime,
    limits: Limits,
    ui_url: str | None,
) -> bool:
    """`end` has the status, the output, the error and the answer."""
    hold = save.hold
    statement = update(executions).where(_is_held(hold), _table.status.in_(UNFINISHED))
    statement = statement.values(end | NOBODYS | {"finished_at": time.in_statement(connection)})
    ended = connection.execute(statement.returning(*ENDED)).mappings().first()
    if ended is None:
        return False
    _write(connection, [save])
    end_open_steps(connection, [hold.execution_id], Status(end["status"]), ended["finished_at"])
    note_end(connection, ended, time)
    if end["status"] in FAILURES:
        failure_triggers.start(connection, hold.execution_id, limits, ui_url)
    return True


def park(connection: Connection, save: Save, new: Sequence[NewWait], time: DatabaseTime) -> bool:
    hold = save.hold
    waits.lock(connection, [one.address for one in new])
    held = _is_held(hold) & (_table.status == Status.RUNNING)
    row = connection.execute(select(executions).where(held).with_for_update()).mappings().first()
    if row is None:
        return False
    _write(connection, [save])
    now = time.read(connection)
    goes_on = waits.begin(connection, hold.execution_id, new, now) or row["cancel_requested"] is not None
    values = _handed_back({**row, "seen_at": now}) | {
        "status": (Status.ACCEPTED if goes_on else Status.WAITING).value,
        "admitted_at": None,
        "parked_at": None if goes_on else now,
        "parked_runs": row["runs"],
        "dispatched_at": None,
    }
    connection.execute(update(executions).where(_table.id == hold.execution_id).values(values))
    return True


def renew(connection: Connection, holds: Sequence[Hold], lease: float, time: DatabaseTime) -> dict[str, Json]:
    if not holds:
        return {}
    said = values(column("id", PlainText), column("owner", PlainText), column("run", Integer))
    rows = sorted({(hold.execution_id, hold.owner, hold.run) for hold in holds if hold.owner is not None})
    if not rows:
        return {}
    held = said.data(rows).cte("held")
    same = (_table.id == held.c.id) & (_table.owner == held.c.owner) & (_table.runs == held.c.run)
    query = select(_table.id).where(same, _table.status == Status.RUNNING).order_by(_table.id)
    # Materialized by name: so each row is locked, after whatever wait, before its new lease is counted from then.
    mine = query.with_for_update(of=executions).cte("mine").prefix_with("MATERIALIZED", dialect="postgresql")
    statement = update(executions).where(_table.id.in_(select(mine.c.id)))
    statement = statement.values(
        lease_until=time.in_statement(connection, plus=lease), seen_at=time.in_statement(connection)
    )
    renewed = connection.execute(statement.returning(_table.id, _table.cancel_requested))
    return {execution_id: from_document(request) for execution_id, request in renewed}


def requeue(connection: Connection, hold: Hold, time: DatabaseTime) -> bool:
    held = _is_held(hold) & (_table.status == Status.RUNNING)
    query = select(_table.flow_run_id, _table.begun_at, _table.seen_at, _table.spent).where(held).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        return False
    values = _handed_back(row) | {
        "status": Status.ACCEPTED.value,
        "dispatched_at": time.read(connection) if row["flow_run_id"] else None,
    }
    connection.execute(update(executions).where(_table.id == hold.execution_id).values(values))
    return True


def _handed_back(row: Mapping[Any, Any]) -> Row:
    """Nobody runs it any more; what it has run counts."""
    return {"owner": None, "lease_until": None, "spent": _spent(row), "begun_at": None, "seen_at": None}


def _is_held(hold: Hold) -> ColumnElement[bool]:
    owner = _table.owner.is_not_distinct_from(hold.owner)
    return (_table.id == hold.execution_id) & (_table.runs == hold.run) & owner
