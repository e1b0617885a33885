"""Failure triggers are known to the one who ends an execution; polls have a state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("workflows", sa.Column("failures_of", sa.Text))
    op.create_table(
        "polls",
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("every", sa.Float, nullable=False),
        sa.Column("declared_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True)),
        sa.Column("polled_at", sa.DateTime(timezone=True)),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("cursor", sa.Text),
        sa.PrimaryKeyConstraint("workflow", "source", name="pk_polls"),
    )
    op.create_index("ix_polls_due_at", "polls", ["due_at"])
    op.create_table(
        "poll_keys",
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("seen_run", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("workflow", "source", "key", name="pk_poll_keys"),
        sa.ForeignKeyConstraint(
            ["workflow", "source"],
            ["polls.workflow", "polls.source"],
            name="fk_poll_keys_workflow_polls",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_poll_keys_workflow_source_seen_run", "poll_keys", ["workflow", "source", "seen_run"])
