"""Failure triggers are known to the one who ends an execution; polls have a state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("workflows", sa.Column("failures_of", sa.Text))
