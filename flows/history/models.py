"""The history's tables. SQLite and PostgreSQL get the same ones.

Documents (events, outputs, errors) are JSON text in ASCII, not `jsonb`: a webhook's body may hold what `jsonb` refuses
(`\\u0000`, a lone surrogate, NaN, integers of any length), and must come back as it came in.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Dialect, ForeignKey, Index, Integer, MetaData, Table, Text, text
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_IS_REPLAY = text("replay_of IS NOT NULL")
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


class PlainText(TypeDecorator[str]):
    """Names and ids. What no text column takes becomes U+FFFD, so that asking for such an id finds nothing."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None else _NOT_STORABLE.sub("\ufffd", value)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: `timestamptz` on PostgreSQL, UTC text of fixed width on SQLite; timezone-aware on both."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no timezone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def to_document(value: Any) -> str:
    """JSON text of `value`, all ASCII. Raises TypeError or ValueError for what JSON has no word for."""
    return json.dumps(value, separators=(",", ":"))


def from_document(text: str | None) -> Any:
    return None if text is None else json.loads(text)


class _Row(SQLModel, registry=registry(metadata=metadata)):
    pass


class WorkflowRow(_Row, table=True):
    __tablename__ = "workflows"

    name: str = Field(sa_type=PlainText, primary_key=True)
    active: bool
    current: str = Field(sa_type=PlainText)
    deployment_id: str | None = Field(default=None, sa_type=PlainText)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class WorkflowVersionRow(_Row, table=True):
    __tablename__ = "workflow_versions"

    workflow: str = Field(sa_type=PlainText, primary_key=True)
    version: str = Field(sa_type=PlainText, primary_key=True)
    language: str = Field(sa_type=PlainText)
    source: str = Field(sa_type=PlainText)
    file: str = Field(sa_type=PlainText)
    description: str = Field(sa_type=PlainText)
    tags: str = Field(sa_type=Text)
    declaration: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)


class EventRow(_Row, table=True):
    __tablename__ = "events"

    id: str = Field(sa_type=PlainText, primary_key=True)
    document: str = Field(sa_type=Text)


class ExecutionRow(_Row, table=True):
    __tablename__ = "executions"
    __table_args__ = (
        Index(None, "status", "accepted_at"),
        Index(None, "workflow", "id"),
        Index(None, "flow_run_id"),
        Index(None, "lease_until"),
        Index(None, "finished_at"),
        Index(None, "replay_of", sqlite_where=_IS_REPLAY, postgresql_where=_IS_REPLAY),
    )

    id: str = Field(sa_type=PlainText, primary_key=True)
    workflow: str = Field(sa_type=PlainText)
    version: str = Field(sa_type=PlainText)
    trigger: str = Field(sa_type=PlainText)
    status: str = Field(sa_type=PlainText)
    event_id: str = Field(sa_type=PlainText)
    accepted_at: datetime = Field(sa_type=UtcDateTime)
    output: str | None = Field(default=None, sa_type=Text)
    error: str | None = Field(default=None, sa_type=Text)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    flow_run_id: str | None = Field(default=None, sa_type=PlainText)
    replay_of: str | None = Field(default=None, sa_type=PlainText)
    parent_id: str | None = Field(default=None, sa_type=PlainText)
    trace: str | None = Field(default=None, sa_type=PlainText)
    runs: int = 0
    owner: str | None = Field(default=None, sa_type=PlainText)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancel_requested: str | None = Field(default=None, sa_type=Text)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    dispatched_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class StepExecutionRow(_Row, table=True):
    __tablename__ = "step_executions"
    __table_args__ = (Unique("execution_id", "step_id"),)

    number: int | None = Field(  # grows with every new row: the order of steps that began in the same instant
        default=None,
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    )
    execution_id: str = Field(
        sa_column=Column(PlainText, ForeignKey("executions.id", ondelete="CASCADE"), nullable=False)
    )
    step_id: str = Field(sa_type=PlainText)
    action: str = Field(sa_type=PlainText)
    status: str = Field(sa_type=PlainText)
    attempts: int
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    output: str | None = Field(default=None, sa_type=Text)
    error: str | None = Field(default=None, sa_type=Text)


class DeliveryRow(_Row, table=True):
    __tablename__ = "deliveries"
    __table_args__ = (Index(None, "expires_at"),)

    key: str = Field(sa_type=PlainText, primary_key=True)
    """SHA-256 of the dedupe key, which may be of any length and hold any character."""
    execution_id: str = Field(sa_type=PlainText)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class PayloadRow(_Row, table=True):
    """A large document, once for all rows that refer to it."""

    __tablename__ = "payloads"

    hash: str = Field(sa_type=PlainText, primary_key=True)
    """SHA-256 of the document."""
    document: str = Field(sa_type=Text)


class PayloadUseRow(_Row, table=True):
    """Which executions refer to a large document: a payload without any is pruned."""

    __tablename__ = "payload_uses"
    __table_args__ = (Index(None, "hash"),)

    execution_id: str = Field(
        sa_column=Column(PlainText, ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True)
    )
    hash: str = Field(sa_column=Column(PlainText, ForeignKey("payloads.hash"), primary_key=True))


def _table(name: str) -> Table:
    return metadata.tables[name]


workflows = _table("workflows")
workflow_versions = _table("workflow_versions")
events = _table("events")
executions = _table("executions")
step_executions = _table("step_executions")
deliveries = _table("deliveries")
payloads = _table("payloads")
payload_uses = _table("payload_uses")
