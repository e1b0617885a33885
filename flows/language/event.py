"""The event: what starts an execution, as workflows see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from foundation.ids import new_id


class Event(BaseModel):
    """One stored inbound request, tick or item.

    `body` is the parsed JSON (or form, or text); header names are lower-case.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(default_factory=new_id)
    body: Any = None
    headers: dict[str, str] = {}
    query: dict[str, str | list[str]] = {}
    method: str | None = None
    path: str | None = None
    received_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    batch: list[Event] = []
    """Of a workflow with `batch`, the events that the execution is for, oldest first; this one is the first of them."""

    def document(self) -> dict[str, Any]:
        """The event as plain JSON: what is stored, and what expressions see."""
        return self.model_dump(mode="json", exclude=None if self.batch else {"batch"})


def parameter_schema(body: dict[str, Any] | None) -> dict[str, Any]:
    """The flow's parameters as Prefect's UI asks for them in "Quick run": one event.

    Args:
        body: the JSON Schema of the event's body, the workflow's `input`.
    """
    return {
        "title": "Parameters",
        "type": "object",
        "properties": {
            "event": {
                "title": "event",
                "description": "The event that starts the execution; left out, an empty one.",
                "type": "object",
                "position": 0,
                "properties": {
                    "body": {"title": "body", **(body or {"description": "Any JSON."})},
                    "headers": {"title": "headers", "type": "object", "additionalProperties": {"type": "string"}},
                    "query": {"title": "query", "type": "object"},
                },
            }
        },
    }
