"""Limits are counted here, runs are told apart, steps have paths and decisions, answers are kept."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _rename_steps()
    op.add_column("workflows", sa.Column("concurrency_limit", sa.Integer, nullable=False, server_default=sa.text("10")))
    op.add_column("workflows", sa.Column("overflow", sa.Text, nullable=False, server_default=sa.text("'wait'")))
    op.add_column("executions", sa.Column("answer", sa.Text))
    op.add_column("step_executions", sa.Column("decision", sa.Text))
    for column in ("admitted_at", "begun_at", "seen_at"):
        op.add_column("executions", sa.Column(column, sa.DateTime(timezone=True)))
    op.add_column("executions", sa.Column("spent", sa.Float, nullable=False, server_default=sa.text("0")))
    _admit_what_prefect_has()
    _take_limits_from_declarations()
    _change_indexes()
    _note_callers()


def _rename_steps() -> None:
    op.execute("ALTER TABLE step_executions RENAME COLUMN step_id TO path")
    old, new = (f"uq_step_executions_execution_id_{column}" for column in ("step_id", "path"))
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE step_executions RENAME CONSTRAINT {old} TO {new}")
        return
    with op.batch_alter_table("step_executions") as table:  # SQLite renames no constraint: the table is copied
        table.drop_constraint(old, type_="unique")
        table.create_unique_constraint(new, ["execution_id", "path"])


def _admit_what_prefect_has() -> None:
    op.execute(
        "UPDATE executions SET admitted_at = accepted_at"
        " WHERE status = 'running' OR (status = 'accepted' AND flow_run_id IS NOT NULL)"
    )


def _take_limits_from_declarations() -> None:
    connection = op.get_bind()
    declarations = connection.execute(
        sa.text(
            "SELECT workflows.name, workflow_versions.declaration FROM workflows JOIN workflow_versions"
            " ON workflow_versions.workflow = workflows.name AND workflow_versions.version = workflows.current"
        )
    ).all()
    change = sa.text("UPDATE workflows SET concurrency_limit = :limit, overflow = :overflow WHERE name = :name")
    for name, declaration in declarations:
        if concurrency := _concurrency(declaration):
            connection.execute(change, {"name": name, "limit": 10, "overflow": "wait"} | concurrency)


def _concurrency(declaration: str | None) -> dict[str, Any]:
    document = json.loads(declaration or "null")
    asked = document.get("concurrency") if isinstance(document, dict) else None
    return {key: asked[key] for key in ("limit", "overflow") if key in asked} if isinstance(asked, dict) else {}


def _change_indexes() -> None:
    for name in ("status_accepted_at", "lease_until", "flow_run_id", "finished_at"):
        op.drop_index(f"ix_executions_{name}", "executions")
    for column in ("flow_run_id", "finished_at"):
        _partial_index(column, [column], f"{column} IS NOT NULL")
    op.create_index("ix_executions_status_id", "executions", ["status", "id"])
    op.create_index("ix_executions_workflow_status_id", "executions", ["workflow", "status", "id"])
    queue = ["workflow", "accepted_at", "id"]
    _partial_index("waiting", queue, "admitted_at IS NULL AND finished_at IS NULL")
    _partial_index("slots", ["workflow"], "admitted_at IS NOT NULL AND finished_at IS NULL")
    _partial_index(
        "to_dispatch",
        queue,
        "admitted_at IS NOT NULL AND finished_at IS NULL AND owner IS NULL AND flow_run_id IS NULL",
    )


def _partial_index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(f"ix_executions_{name}", "executions", columns, sqlite_where=where, postgresql_where=where)


def _note_callers() -> None:
    op.create_table(
        "callers",
        sa.Column("execution_id", sa.Text, nullable=False),
        sa.Column("waiter", sa.Text, nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "waiter", name="pk_callers"),
    )
    op.create_index("ix_callers_until", "callers", ["until"])
