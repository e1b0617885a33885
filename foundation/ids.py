"""Ids of executions and events: UUIDv7 (RFC 9562), so their order is the order of creation."""

from __future__ import annotations

from uuid_utils import uuid7


def new_id() -> str:
    return str(uuid7())
