"""Failure triggers in SQL; `flows.history.failed` says what they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from flows.history import payloads
from flows.history.arrivals import Arrival, Arrivals, accept
from flows.history.documents import from_document
from flows.history.failed import FAILURES, SHOWN_CHARACTERS, SHOWN_STEPS, started_by_failure, watchers
from flows.history.models import events, executions, step_executions, workflows
from flows.history.records import Execution, Limits, Trigger
from flows.history.rows import Row, execution_of, step_of

_table, _steps = executions.c, step_executions.c


def start(connection: Connection, execution_id: str, limits: Limits, ui_url: str | None) -> None:
    """Starts what wants to know of this execution, which has just failed."""
    workflow = select(_table.workflow).where(_table.id == execution_id)
    named = watchers(connection.execute(workflow).scalar_one(), _watching(connection))
    if not named:
        return
    for name in _came_of(connection, execution_id):
        named.pop(name, None)
    if not named:
        return
    execution, left_out = _bounded(connection, execution_id)
    assert execution.finished_at is not None  # noqa: S101 - it has just ended
    new = started_by_failure(execution, named, left_out, execution.finished_at, ui_url)
    accept(connection, [Arrivals(execution.finished_at, [Arrival.of(one, limits) for one in new])])


def _watching(connection: Connection) -> list[tuple[str, str, list[str]]]:
    table = workflows.c
    query = select(table.name, table.current, table.failures_of).where(table.failures_of.is_not(None), table.active)
    return [(name, version, from_document(patterns)) for name, version, patterns in connection.execute(query)]


def _came_of(connection: Connection, execution_id: str) -> list[str]:
    """The workflows that were started by a failure somewhere on the way to this execution."""
    query = select(_table.id, _table.parent_id, _table.workflow, _table.trigger).where(_table.id == execution_id)
    found = query.cte("found", recursive=True)
    before = select(_table.id, _table.parent_id, _table.workflow, _table.trigger)
    found = found.union(before.where(_table.id == found.c.parent_id))
    return list(connection.execute(select(found.c.workflow).where(found.c.trigger == Trigger.FAILURE)).scalars())


def _bounded(connection: Connection, execution_id: str) -> tuple[Execution, list[str]]:
    query = select(executions, _small("output", _table.output), _small("event", events.c.document))
    query = query.join_from(executions, events, events.c.id == _table.event_id).where(_table.id == execution_id)
    row = connection.execute(query).mappings().one()
    left_out = [name for name in ("event", "output") if _is_left_out(row, name)]
    failed_first = case((_steps.status.in_(FAILURES), 0), else_=1)
    query = select(step_executions, _small("output", _steps.output)).where(_steps.execution_id == execution_id)
    found = (
        connection.execute(query.order_by(failed_first, _steps.number.desc()).limit(SHOWN_STEPS + 1)).mappings().all()
    )
    shown = sorted(found[:SHOWN_STEPS], key=lambda step: step["number"])
    left_out += ["steps"] if len(found) > SHOWN_STEPS else []
    left_out += [f"steps.{step['path']}.output" for step in shown if _is_left_out(step, "output")]
    steps = [step_of({**step, "output": _text(step, "output"), "decision": None}) for step in shown]
    whole: Row = {**row, "output": _text(row, "output"), "answer": None}
    return execution_of(whole, event=from_document(_text(row, "event")), steps=steps), left_out


def _small(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The document if it is small; else an empty text, which is no document."""
    return case((func.length(column) <= SHOWN_CHARACTERS, column), (column.is_not(None), "")).label(f"small_{name}")


def _is_left_out(row: Mapping[Any, Any], name: str) -> bool:
    text = row[f"small_{name}"]
    return text == "" or payloads.is_reference(text)


def _text(row: Mapping[Any, Any], name: str) -> str | None:
    return None if _is_left_out(row, name) else row[f"small_{name}"]
