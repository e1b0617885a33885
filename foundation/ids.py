"""Ids of executions and events: UUIDv7 (RFC 9562), so their order is the order of creation."""

from __future__ import annotations

from datetime import datetime

from uuid_utils import uuid7


def new_id() -> str:
    return str(uuid7())


def first_id_of(time: datetime) -> str:
    """No id that is made at this time or later comes before it."""
    milliseconds = f"{max(int(time.timestamp() * 1000), 0):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-000000000000"
