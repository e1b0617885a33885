"""The events of recorded runs, on Prefect's own bus: its feed shows them, and its automations act on them.

They are written as Prefect writes its own (`prefect/server/models/events.py`), as bytes: making its models of a hundred
takes as long as recording the runs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import sqlalchemy as sa
from prefect.server.database import PrefectDBInterface
from prefect.server.events.messaging import create_event_publisher
from prefect.utilities.text import truncated_to

from flows.on_prefect.recording.present import Deployment
from flows.on_prefect.recording.records import Kind, State
from flows.on_prefect.recording.rows import Change

MESSAGE_SIZE: Final = 100_000
"""Characters of a state's message (`prefect/server/models/events.py`, TRUNCATE_STATE_MESSAGES_AT)."""
TIGHT: Final = timedelta(minutes=5)
"""How close two states are for the second's event to say that it follows the first's (the same, TIGHT_TIMING)."""

_log = logging.getLogger("ipaas.recording")


async def publish(changes: Sequence[Change]) -> None:
    """Raises nothing: the runs are recorded, whatever becomes of their events."""
    if not changes:
        return
    now = datetime.now(UTC)
    try:
        async with create_event_publisher() as publisher:
            for change in changes:
                event = event_of(change, received=now)
                await publisher.publish_data(orjson.dumps(event), {"id": event["id"], "event": event["event"]})
    except Exception as error:  # noqa: BLE001 - any message broker's
        _log.error("events of %d recorded runs may be lost: %s", len(changes), type(error).__name__)


async def untold(db: PrefectDBInterface, repeated: Sequence[Change]) -> list[Change]:
    """Those whose event Prefect has not stored: whoever recorded them died before they were out.

    What is on its way at this moment Prefect's bus lets through once.
    """
    if not repeated:
        return []
    ids = [change.state_id for change in repeated]
    async with db.session_context() as session:
        stored = set(await session.scalars(sa.select(db.Event.id).where(db.Event.id.in_(ids))))
    return [change for change in repeated if change.state_id not in stored]


def event_of(change: Change, *, received: datetime) -> dict[str, Any]:
    run, state, before = change.run, change.state, change.before
    at = state.timestamp.astimezone(UTC).isoformat()
    tight = before is not None and abs(state.timestamp - before.timestamp) < TIGHT
    return {
        "occurred": at,
        "event": f"prefect.flow-run.{state.name}",
        "resource": {
            "prefect.resource.id": f"prefect.flow-run.{run.id}",
            "prefect.resource.name": run.name,
            "prefect.run-count": str(run.run_count),
            "prefect.state-message": _short(state.message),
            "prefect.state-name": state.name,
            "prefect.state-timestamp": at,
            "prefect.state-type": state.type,
        },
        "related": _related(change.deployment, run.tags),
        "payload": {
            "intended": {"from": before.type if before else None, "to": state.type},
            "initial_state": _payload(before) if before else None,
            "validated_state": _payload(state),
        },
        "id": str(change.state_id),
        "follows": str(change.follows) if change.follows and tight else None,
        "received": received.isoformat(),
    }


def _related(deployment: Deployment, tags: Sequence[str]) -> list[dict[str, str]]:
    related = [
        _resource("flow", deployment.flow_id, deployment.workflow),
        _resource("deployment", deployment.id, deployment.workflow),
    ]
    if deployment.queue_id and deployment.queue:
        related.append(_resource("work-queue", deployment.queue_id, deployment.queue))
    if deployment.pool_id and deployment.pool:
        pool = _resource("work-pool", deployment.pool_id, deployment.pool)
        related.append(pool | {"prefect.work-pool.type": deployment.pool_type or ""})
    for tag in sorted({*deployment.tags, *tags}):
        related.append({"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"})
    return related


def _resource(kind: str, resource_id: object, name: str) -> dict[str, str]:
    return {
        "prefect.resource.id": f"prefect.{kind}.{resource_id}",
        "prefect.resource.role": kind,
        "prefect.resource.name": name,
    }


def _payload(state: State) -> dict[str, str]:
    payload: dict[str, str] = {"type": state.type, "name": state.name}
    if state.message:
        payload["message"] = _short(state.message)
    if state.type is Kind.PAUSED:
        payload["pause_reschedule"] = str(state.details.pause_reschedule).lower()
    return payload


def _short(message: str | None) -> str:
    return str(truncated_to(MESSAGE_SIZE, message))
