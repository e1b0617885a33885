"""The first tables: workflows and their versions, events, executions, steps, deliveries, large documents."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "workflows",
        _text("name"),
        sa.Column("active", sa.Boolean, nullable=False),
        _text("current"),
        _text("deployment_id", optional=True),
        _time("updated_at"),
        sa.PrimaryKeyConstraint("name", name="pk_workflows"),
    )
    op.create_table(
        "workflow_versions",
        _text("workflow"),
        _text("version"),
        _text("language"),
        _text("source"),
        _text("file"),
        _text("description"),
        _text("tags"),
        _text("declaration", optional=True),
        _time("created_at"),
        sa.PrimaryKeyConstraint("workflow", "version", name="pk_workflow_versions"),
    )
    op.create_table(
        "events",
        _text("id"),
        _text("document"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_table(
        "executions",
        _text("id"),
        _text("workflow"),
        _text("version"),
        _text("trigger"),
        _text("status"),
        _text("event_id"),
        _time("accepted_at"),
        _text("output", optional=True),
        _text("error", optional=True),
        _time("started_at", optional=True),
        _time("finished_at", optional=True),
        _text("flow_run_id", optional=True),
        _text("replay_of", optional=True),
        _text("parent_id", optional=True),
        _text("trace", optional=True),
        sa.Column("runs", sa.Integer, nullable=False),
        _text("owner", optional=True),
        _time("lease_until", optional=True),
        _text("cancel_requested", optional=True),
        _time("claimed_until", optional=True),
        _time("dispatched_at", optional=True),
        sa.PrimaryKeyConstraint("id", name="pk_executions"),
    )
    op.create_index("ix_executions_status_accepted_at", "executions", ["status", "accepted_at"])
    op.create_index("ix_executions_workflow_id", "executions", ["workflow", "id"])
    for column in ("flow_run_id", "lease_until", "finished_at"):
        op.create_index(f"ix_executions_{column}", "executions", [column])
    replays = sa.text("replay_of IS NOT NULL")
    op.create_index(
        "ix_executions_replay_of", "executions", ["replay_of"], sqlite_where=replays, postgresql_where=replays
    )
    op.create_table(
        "step_executions",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        _text("execution_id"),
        _text("step_id"),
        _text("action"),
        _text("status"),
        sa.Column("attempts", sa.Integer, nullable=False),
        _time("started_at", optional=True),
        _time("finished_at", optional=True),
        _text("output", optional=True),
        _text("error", optional=True),
        sa.PrimaryKeyConstraint("number", name="pk_step_executions"),
        sa.UniqueConstraint("execution_id", "step_id", name="uq_step_executions_execution_id_step_id"),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name="fk_step_executions_execution_id_executions", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "deliveries",
        _text("key"),
        _text("execution_id"),
        _time("expires_at", optional=True),
        sa.PrimaryKeyConstraint("key", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_expires_at", "deliveries", ["expires_at"])
    op.create_table(
        "payloads",
        _text("hash"),
        _text("document"),
        sa.PrimaryKeyConstraint("hash", name="pk_payloads"),
    )
    op.create_table(
        "payload_uses",
        _text("execution_id"),
        _text("hash"),
        sa.PrimaryKeyConstraint("execution_id", "hash", name="pk_payload_uses"),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name="fk_payload_uses_execution_id_executions", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["hash"], ["payloads.hash"], name="fk_payload_uses_hash_payloads"),
    )
    op.create_index("ix_payload_uses_hash", "payload_uses", ["hash"])


def _text(name: str, *, optional: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=optional)


def _time(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=optional)
