"""The tokens of credentials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "growth"


def upgrade() -> None:
    op.create_table(
        "credential_tokens",
        sa.Column("credential", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True)),
        sa.Column("sealed", sa.Text),
        sa.Column("stored_at", sa.DateTime(timezone=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("connected_at", sa.DateTime(timezone=True)),
        sa.Column("connected_by", sa.Text),
        sa.Column("nonce", sa.Text),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("is_lasting", sa.Boolean, nullable=False),
        sa.Column("failed_settings", sa.Text),
        sa.Column("retry_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("credential", "type", name="pk_credential_tokens"),
    )
