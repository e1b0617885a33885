"""Executions wait for something outside, hold nothing meanwhile, and call each other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_QUEUE = ["workflow", "accepted_at", "id"]
_OPEN = "ended_at IS NULL"


def upgrade() -> None:
    op.add_column("executions", sa.Column("parent_path", sa.Text))
    op.add_column("executions", sa.Column("depth", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("executions", sa.Column("parked_at", sa.DateTime(timezone=True)))
    op.add_column("executions", sa.Column("parked_runs", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.drop_index("ix_executions_waiting", "executions")
    waiting = "admitted_at IS NULL AND finished_at IS NULL AND parked_at IS NULL"
    _partial_index("ix_executions_waiting", "executions", _QUEUE, waiting)
    _waits()
    op.create_table(
        "kept_answers",
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("answered_by", sa.Text),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("address", name="pk_kept_answers"),
    )
    op.create_index("ix_kept_answers_expires_at", "kept_answers", ["expires_at"])


def _waits() -> None:
    op.create_table(
        "waits",
        sa.Column("execution_id", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("document", sa.Text),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("answered", sa.Boolean, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("answered_by", sa.Text),
        sa.PrimaryKeyConstraint("execution_id", "path", name="pk_waits"),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], ondelete="CASCADE", name="fk_waits_execution_id_executions"
        ),
    )
    _partial_index("ix_waits_address", "waits", ["address"], "address IS NOT NULL")
    _partial_index("ix_waits_due", "waits", ["due_at"], f"{_OPEN} AND due_at IS NOT NULL")
    _partial_index("ix_waits_open", "waits", ["kind", "begun_at", "execution_id", "path"], _OPEN)


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
