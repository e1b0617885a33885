"""What tests of a history are made of: executions in each of their states, with one call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from uuid_utils import uuid7

from flows.history import (
    Execution,
    HistoryStore,
    Hold,
    Json,
    NewExecution,
    Refusal,
    Status,
    StepExecution,
    Trigger,
    WorkflowVersion,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))


def an_execution(**values: Any) -> NewExecution:
    defaults: dict[str, Any] = {
        "id": str(uuid7()),
        "workflow": "orders",
        "version": "v1",
        "trigger": Trigger.WEBHOOK,
        "event": {"id": "event-1", "body": {"amount": 12}, "headers": {}, "query": {}},
        "accepted_at": T0,
    }
    return NewExecution(**defaults | values)


def a_step(path: str = "notify", status: Status = Status.SUCCEEDED, **values: Any) -> StepExecution:
    return StepExecution(path, "slack.post_message", status, **values)


def a_version(version: str = "v1", **values: Any) -> WorkflowVersion:
    defaults: dict[str, Any] = {
        "workflow": "orders",
        "language": "yaml",
        "source": "name: orders",
        "file": "orders.yaml",
    }
    return WorkflowVersion(version=version, **defaults | values)


async def accepted(store: HistoryStore, **values: Any) -> str:
    new = an_execution(**values)
    await store.accept([new])
    return new.id


async def begin(store: HistoryStore, execution_id: str, **values: Any) -> Execution | Refusal:
    defaults: dict[str, Any] = {"flow_run_id": None, "owner": "host/1", "lease": 60}
    return await store.begin(execution_id, **defaults | values)


async def begun(store: HistoryStore, execution_id: str, **values: Any) -> Execution:
    execution = await begin(store, execution_id, **values)
    assert isinstance(execution, Execution)
    return execution


async def running(store: HistoryStore, *, owner: str = "host/1", lease: float = 60, **new: Any) -> str:
    execution_id = await accepted(store, **new)
    await begun(store, execution_id, owner=owner, lease=lease)
    return execution_id


async def hold_of(store: HistoryStore, execution_id: str) -> Hold:
    return (await get(store, execution_id)).hold


async def save(store: HistoryStore, execution_id: str, *steps: StepExecution) -> None:
    """Saves them as whoever runs the execution."""
    for step in steps:
        assert await store.save_steps(await hold_of(store, execution_id), [step])


async def finish(store: HistoryStore, execution_id: str, status: Status, **outcome: Json) -> None:
    """Ends it as whoever runs the execution."""
    assert await store.finish(await hold_of(store, execution_id), status, **outcome)


async def ended(store: HistoryStore, status: Status = Status.SUCCEEDED, **new: Any) -> str:
    execution_id = await running(store, **new)
    await finish(store, execution_id, status)
    return execution_id


async def admitted(store: HistoryStore, *, limit: int = 100, claim: float = 60) -> list[str]:
    return ids(await store.admit(limit=limit, claim=claim))


async def get(store: HistoryStore, execution_id: str) -> Execution:
    execution = await store.execution(execution_id)
    assert execution is not None
    return execution


def ids(executions: Sequence[Execution]) -> list[str]:
    return [execution.id for execution in executions]
