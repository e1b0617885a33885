"""Express executions: which workflows want it, which executions were begun so, and of which Prefect has been told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "express"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("workflows", sa.Column("mode", sa.Text))
    op.add_column("executions", sa.Column("mode", sa.Text))
    op.add_column("executions", sa.Column("recorded_at", sa.DateTime(timezone=True)))
    unrecorded = "mode = 'express' AND finished_at IS NOT NULL AND recorded_at IS NULL"
    _partial_index("ix_executions_unrecorded", "finished_at", unrecorded)
    _partial_index("ix_executions_recorded_at", "recorded_at", "recorded_at IS NOT NULL")


def _partial_index(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "executions", [column], sqlite_where=where, postgresql_where=where)
