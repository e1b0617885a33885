"""Flow control: an execution has keys and waits in a lane; what is known of a lane has a row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_WAITS = "admitted_at IS NULL AND finished_at IS NULL AND parked_at IS NULL"


def upgrade() -> None:
    op.add_column("workflows", sa.Column("flow_control", sa.Text))
    op.add_column("executions", sa.Column("lane", sa.Text, nullable=False, server_default=sa.text("''")))
    op.add_column("executions", sa.Column("queued_at", sa.DateTime(timezone=True)))
    op.add_column("executions", sa.Column("flow_keys", sa.Text))
    op.execute(f"UPDATE executions SET queued_at = accepted_at WHERE {_WAITS}")  # noqa: S608 - a constant
    op.drop_index("ix_executions_waiting", "executions")
    _partial_index("ix_executions_waiting", "executions", ["workflow", "lane", "queued_at", "id"], _WAITS)
    op.create_table(
        "lanes",
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True)),
        sa.Column("leader", sa.Text),
        sa.PrimaryKeyConstraint("workflow", "lane", name="pk_lanes"),
    )
    _partial_index("ix_lanes_due", "lanes", ["workflow", "rule", "due"], "due IS NOT NULL")
    op.create_table(
        "overflow",
        sa.Column("execution_id", sa.Text, nullable=False),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "lane", name="pk_overflow"),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name="fk_overflow_execution_id_executions", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_overflow_workflow_lane", "overflow", ["workflow", "lane"])


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
