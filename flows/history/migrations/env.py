"""What Alembic runs: it gets an open transaction from `flows.history.migrations`, which also ends it."""

from __future__ import annotations

from alembic import context

from flows.history.models import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
