"""The history's tables. SQLite and PostgreSQL get the same ones.

Documents (events, outputs, errors) are JSON text in ASCII, not `jsonb`: a webhook's body may hold what `jsonb` refuses
(`\\u0000`, a lone surrogate, NaN, integers of any length), and must come back as it came in.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TextClause,
    text,
)
from sqlalchemy import ForeignKeyConstraint as ForeignKeys
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

# The conditions of partial indexes. Queries use the very same text, so that both databases see what the index is for.
# None names `status`: SQLite, which has no statistics, would go by that column's index, and read all that is accepted.
IS_WAITING = text("admitted_at IS NULL AND finished_at IS NULL AND parked_at IS NULL")
"""It is accepted, and waits for a slot of its workflow's limit."""
HAS_SLOT = text("admitted_at IS NOT NULL AND finished_at IS NULL")
IS_TO_DISPATCH = text("admitted_at IS NOT NULL AND finished_at IS NULL AND owner IS NULL AND flow_run_id IS NULL")
"""It may be handed over, unless somebody claims it."""
IS_UNRECORDED = text("mode = 'express' AND finished_at IS NOT NULL AND recorded_at IS NULL")
"""Prefect has not been told how it ended."""
IS_OPEN = text("ended_at IS NULL")
"""A step waits for it."""
IS_DUE = text("ended_at IS NULL AND due_at IS NOT NULL")
"""It is over at some time, answered or not."""
WAS_AT_ADDRESS = text("ended_at IS NOT NULL AND address IS NOT NULL")
"""A step has waited at its address."""
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


def _partial(*columns: str, name: str | None = None, where: TextClause | None = None) -> Index:
    """An index of the rows that `where` is true of; else of those that have the (one) column at all."""
    where = text(f"{columns[0]} IS NOT NULL") if where is None else where
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


class _Row(SQLModel, registry=registry(metadata=metadata)):
    pass


class WorkflowRow(_Row, table=True):
    __tablename__ = "workflows"

    name: str = Field(sa_type=PlainText, primary_key=True)
    active: bool
    current: str = Field(sa_type=PlainText)
    deployment_id: str | None = Field(default=None, sa_type=PlainText)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    concurrency_limit: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("10")))
    overflow: str = Field(sa_column=Column(PlainText, nullable=False, server_default=text("'wait'")))
    failures_of: str | None = Field(default=None, sa_type=Text)
    """The patterns of its failure triggers, if it has any: the workflows whose failures start it."""
    flow_control: str | None = Field(default=None, sa_type=Text)
    """`flow_control.declared_rules` as a document; NULL: it has none."""
    mode: str | None = Field(default=None, sa_type=PlainText)
    """NULL: it does not say."""


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
        Index(None, "status", "id"),
        Index(None, "workflow", "id"),
        Index(None, "workflow", "status", "id"),
        _partial("flow_run_id"),
        _partial("finished_at"),
        _partial("replay_of"),
        _partial("workflow", "lane", "queued_at", "id", name="ix_executions_waiting", where=IS_WAITING),
        _partial("workflow", name="ix_executions_slots", where=HAS_SLOT),
        _partial("workflow", "accepted_at", "id", name="ix_executions_to_dispatch", where=IS_TO_DISPATCH),
        _partial("finished_at", name="ix_executions_unrecorded", where=IS_UNRECORDED),
        _partial("recorded_at"),
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
    answer: str | None = Field(default=None, sa_type=Text)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    flow_run_id: str | None = Field(default=None, sa_type=PlainText)
    replay_of: str | None = Field(default=None, sa_type=PlainText)
    parent_id: str | None = Field(default=None, sa_type=PlainText)
    parent_path: str | None = Field(default=None, sa_type=PlainText)
    depth: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))
    trace: str | None = Field(default=None, sa_type=PlainText)
    mode: str | None = Field(default=None, sa_type=PlainText)
    recorded_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    admitted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    begun_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The present run's last sign of life."""
    spent: float = Field(sa_column=Column(Float, nullable=False, server_default=text("0")))
    runs: int = 0
    parked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    parked_runs: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))
    owner: str | None = Field(default=None, sa_type=PlainText)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """In no index, like `seen_at`: so PostgreSQL renews a lease without touching any."""
    cancel_requested: str | None = Field(default=None, sa_type=Text)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    dispatched_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lane: str = Field(sa_column=Column(PlainText, nullable=False, server_default=text("''")))
    """Where it waits for its slot, see `flow_control`."""
    queued_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Its place there: when it was accepted, put ahead by its priority."""
    flow_keys: str | None = Field(default=None, sa_type=Text)
    """`flow_control.to_text`"""


class LaneRow(_Row, table=True):
    """What is known of a key beyond who waits for it. Written by whoever has the workflow's row locked."""

    __tablename__ = "lanes"
    __table_args__ = (
        _partial("workflow", "rule", "due", name="ix_lanes_due", where=text("due IS NOT NULL")),
        _partial("since", name="ix_lanes_idle", where=text("due IS NULL")),
    )

    workflow: str = Field(sa_type=PlainText, primary_key=True)
    lane: str = Field(sa_type=PlainText, primary_key=True)
    rule: str = Field(sa_type=PlainText)
    since: datetime = Field(sa_type=UtcDateTime)
    """debounce, batch: when the first event came. throttle: see `Throttle.free_at`."""
    due: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When something becomes of those that wait in it; NULL: nobody does."""
    leader: str | None = Field(default=None, sa_type=PlainText)
    """The execution that runs instead of the others, while they are being ended."""


class OverflowRow(_Row, table=True):
    """Who waits, wherever, and has a key of a limit whose overflow is not `wait`. Some have been admitted since."""

    __tablename__ = "overflow"
    __table_args__ = (Index(None, "workflow", "lane"),)

    execution_id: str = Field(
        sa_column=Column(PlainText, ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True)
    )
    lane: str = Field(sa_type=PlainText, primary_key=True)
    workflow: str = Field(sa_type=PlainText)


class StepExecutionRow(_Row, table=True):
    __tablename__ = "step_executions"
    __table_args__ = (Unique("execution_id", "path"),)

    number: int | None = Field(  # grows with every new row: the order of steps that began in the same instant
        default=None,
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    )
    execution_id: str = Field(
        sa_column=Column(PlainText, ForeignKey("executions.id", ondelete="CASCADE"), nullable=False)
    )
    path: str = Field(sa_type=PlainText)
    action: str = Field(sa_type=PlainText)
    status: str = Field(sa_type=PlainText)
    attempts: int
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    output: str | None = Field(default=None, sa_type=Text)
    error: str | None = Field(default=None, sa_type=Text)
    decision: str | None = Field(default=None, sa_type=Text)


class WaitRow(_Row, table=True):
    """What a step waits for, or has waited for."""

    __tablename__ = "waits"
    __table_args__ = (
        _partial("address", "begun_at", "execution_id", "path", name="ix_waits_at_address", where=IS_OPEN),
        _partial("address", "begun_at", name="ix_waits_were_at_address", where=WAS_AT_ADDRESS),
        _partial("due_at", name="ix_waits_due", where=IS_DUE),
        _partial("kind", "begun_at", "execution_id", "path", name="ix_waits_open", where=IS_OPEN),
    )

    execution_id: str = Field(
        sa_column=Column(PlainText, ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True)
    )
    path: str = Field(sa_type=PlainText, primary_key=True)
    kind: str = Field(sa_type=PlainText)
    address: str | None = Field(default=None, sa_type=PlainText)
    begun_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    document: str | None = Field(default=None, sa_type=Text)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    answered: bool = False
    answer: str | None = Field(default=None, sa_type=Text)
    answered_by: str | None = Field(default=None, sa_type=PlainText)


class KeptAnswerRow(_Row, table=True):
    """An answer that came before anybody waited for it."""

    __tablename__ = "kept_answers"
    __table_args__ = (Index(None, "expires_at"),)

    address: str = Field(sa_type=PlainText, primary_key=True)
    answer: str | None = Field(default=None, sa_type=Text)
    answered_by: str | None = Field(default=None, sa_type=PlainText)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class DeliveryRow(_Row, table=True):
    __tablename__ = "deliveries"
    __table_args__ = (Index(None, "expires_at"),)

    key: str = Field(sa_type=PlainText, primary_key=True)
    """SHA-256 of the dedupe key, which may be of any length and hold any character."""
    execution_id: str = Field(sa_type=PlainText)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CallerRow(_Row, table=True):
    """Who waits for an execution's end."""

    __tablename__ = "callers"
    __table_args__ = (Index(None, "until"),)

    execution_id: str = Field(sa_type=PlainText, primary_key=True)
    waiter: str = Field(sa_type=PlainText, primary_key=True)
    until: datetime = Field(sa_type=UtcDateTime)


class PollRow(_Row, table=True):
    """A poll trigger's state."""

    __tablename__ = "polls"
    __table_args__ = (Index(None, "due_at"),)

    workflow: str = Field(sa_type=PlainText, primary_key=True)
    source: str = Field(sa_type=PlainText, primary_key=True)
    every: float = Field(sa_type=Float)
    declared_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime = Field(sa_type=UtcDateTime)
    run: int
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    polled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failures: int
    error: str | None = Field(default=None, sa_type=Text)
    cursor: str | None = Field(default=None, sa_type=Text)


class PollKeyRow(_Row, table=True):
    """An item that a poll has found before."""

    __tablename__ = "poll_keys"
    __table_args__ = (
        ForeignKeys(["workflow", "source"], ["polls.workflow", "polls.source"], ondelete="CASCADE"),
        Index(None, "workflow", "source", "seen_run"),
    )

    workflow: str = Field(sa_type=PlainText, primary_key=True)
    source: str = Field(sa_type=PlainText, primary_key=True)
    key: str = Field(sa_type=PlainText, primary_key=True)
    """SHA-256 of the item's key."""
    seen_run: int
    """The poll's run that saw it last."""


class CredentialTokensRow(_Row, table=True):
    """The tokens of a credential, and whose turn it is to renew them."""

    __tablename__ = "credential_tokens"

    credential: str = Field(sa_type=PlainText, primary_key=True)
    type: str = Field(sa_type=PlainText, primary_key=True)
    run: int
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    sealed: str | None = Field(default=None, sa_type=Text)
    stored_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    connected_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    connected_by: str | None = Field(default=None, sa_type=PlainText)
    nonce: str | None = Field(default=None, sa_type=PlainText)
    """Of the consent that a person was asked for last."""
    failures: int
    failure: str | None = Field(default=None, sa_type=PlainText)
    is_lasting: bool
    failed_settings: str | None = Field(default=None, sa_type=PlainText)
    retry_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


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
lanes = _table("lanes")
overflow = _table("overflow")
step_executions = _table("step_executions")
deliveries = _table("deliveries")
callers = _table("callers")
polls = _table("polls")
poll_keys = _table("poll_keys")
credential_tokens = _table("credential_tokens")
waits = _table("waits")
kept_answers = _table("kept_answers")
payloads = _table("payloads")
payload_uses = _table("payload_uses")
