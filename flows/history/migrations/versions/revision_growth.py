"""What a long history slowed down has an index: waits at an address, lanes in which nobody waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "growth"
down_revision = "express"


def upgrade() -> None:
    op.drop_index("ix_waits_address", "waits")
    _partial_index("ix_waits_at_address", "waits", ["address", "begun_at", "execution_id", "path"], "ended_at IS NULL")
    was_at_address = "ended_at IS NOT NULL AND address IS NOT NULL"
    _partial_index("ix_waits_were_at_address", "waits", ["address", "begun_at"], was_at_address)
    _partial_index("ix_lanes_idle", "lanes", ["since"], "due IS NULL")


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
