"""Many runs, in one transaction, in Prefect's database; and those that it does not take, found one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from prefect.server.database import PrefectDBInterface, provide_database_interface
from sqlalchemy.ext.asyncio import AsyncConnection

from flows.on_prefect.recording.present import lock_runs, read_deployments, read_runs
from flows.on_prefect.recording.records import Batch, RunRecord
from flows.on_prefect.recording.rows import Change, Rows

MARKER: Final = "ipaas-recorded"
"""The key in Prefect's `configuration` table of how far it has been told."""
_REFUSALS = frozenset({"22", "23", "54"})
"""Classes of PostgreSQL's error codes: bad data, a broken constraint, more than fits
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""


class Unavailable(Exception):
    """The database does not do it now; it may later."""


@dataclass
class Written:
    recorded: list[UUID] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)
    before: datetime | None = None
    changes: list[Change] = field(default_factory=list)
    repeated: list[Change] = field(default_factory=list)


class Writer:
    """Writes batches. One for a server."""

    def __init__(self, database: PrefectDBInterface | None = None) -> None:
        self._db = database or provide_database_interface()
        self._now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._statements = _Statements(self._db)

    async def marker(self) -> datetime | None:
        """How far Prefect has been told. Raises Unavailable."""
        try:
            async with self._db.session_context() as session:
                return await self._read_marker(await session.connection())
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise Unavailable(type(error).__name__) from None

    async def write(self, batch: Batch) -> Written:
        """Raises Unavailable: nothing, or only a part, is written; to be sent again."""
        runs = {run.id: run for run in batch.runs}
        return await self._write(batch.at, [runs[one] for one in sorted(runs)])

    async def _write(self, at: datetime, runs: Sequence[RunRecord]) -> Written:
        try:
            return await self._in_one(at, runs)
        except (sa.exc.SQLAlchemyError, OSError, ValueError, TypeError, OverflowError) as error:
            # Neither text nor cause: SQLAlchemy's has the values.
            if not _is_refusal(error) or not runs:
                raise Unavailable(_named(error)) from None
            if len(runs) == 1:
                return Written(refused={runs[0].id: f"Prefect's database does not take it ({_named(error)})"})
        middle = len(runs) // 2
        first, second = await self._write(at, runs[:middle]), await self._write(at, runs[middle:])
        return Written(
            first.recorded + second.recorded,
            first.refused | second.refused,
            first.before,
            first.changes + second.changes,
            first.repeated + second.repeated,
        )

    async def _in_one(self, at: datetime, runs: Sequence[RunRecord]) -> Written:
        rows, written = Rows(), Written()
        async with self._db.session_context(begin_transaction=True) as session:
            connection = await session.connection()
            deployments = await read_deployments(connection, self._db, {run.workflow for run in runs})
            await lock_runs(connection, [run.id for run in runs])
            present = await read_runs(connection, self._db, [run.id for run in runs])
            now = self._now()
            for run in runs:
                if deployment := deployments.get(run.workflow):
                    rows.add(run, deployment, present.get(run.id), now)
                    written.recorded.append(run.id)
                else:
                    written.refused[run.id] = f"there is no deployment {run.workflow}/{run.workflow}"
            await self._statements.execute(connection, rows)
            written.before = await self._move_marker(connection, at)
        written.changes, written.repeated = rows.changes, rows.repeated
        return written

    async def _read_marker(self, connection: AsyncConnection) -> datetime | None:
        table = self._db.Configuration
        query = sa.select(table.value).where(table.key == MARKER).with_for_update()
        value = (await connection.execute(query)).scalar()
        return datetime.fromisoformat(value["at"]) if value and value["at"] else None

    async def _move_marker(self, connection: AsyncConnection, at: datetime) -> datetime | None:
        """Never back; the one before."""
        before = await self._read_marker(connection)
        if before is None:
            await connection.execute(self._statements.first_marker, {"value": {"at": None}})
            before = await self._read_marker(connection)  # another server may have been faster
        if before is None or at > before:
            value = {"at": at.astimezone(UTC).isoformat()}
            await connection.execute(self._statements.marker, {"value": value, "updated": self._now()})
        return before


class _Statements:
    """In the order that their tables refer to each other."""

    def __init__(self, db: PrefectDBInterface) -> None:
        insert = db.queries.insert
        self._runs, self._change_runs = insert(db.FlowRun), _change(db.FlowRun)
        self._states = insert(db.FlowRunState)
        self._tasks, self._change_tasks = insert(db.TaskRun), _change(db.TaskRun)
        self._task_states = insert(db.TaskRunState)
        self._logs = insert(db.Log).on_conflict_do_nothing(index_elements=["id"])
        self._artifacts = _upsert(insert(db.Artifact), ["id"], ["data", "description", "updated"])
        of_artifact = ["latest_id", "type", "data", "description", "flow_run_id", "task_run_id", "updated"]
        self._latest_artifacts = _upsert(insert(db.ArtifactCollection), ["key"], of_artifact)
        self._inputs = _upsert(insert(db.FlowRunInput), ["flow_run_id", "key"], ["value", "updated"])
        self.first_marker = insert(db.Configuration).values(key=MARKER).on_conflict_do_nothing(index_elements=["key"])
        self.marker = sa.update(_table(db.Configuration)).where(_table(db.Configuration).c.key == MARKER)

    async def execute(self, connection: AsyncConnection, rows: Rows) -> None:
        """A run names its state and the state its run: on SQLite both are looked at when the transaction ends, on
        PostgreSQL the run gets its state once that is there."""

        async def run(statement: Any, values: Sequence[dict[str, Any]]) -> None:
            if values:
                await connection.execute(statement, values)

        if connection.dialect.name == "sqlite":
            await connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            await run(self._runs, rows.runs)
            await run(self._states, rows.states)
        else:
            await run(self._runs, [row | {"state_id": None} for row in rows.runs])
            await run(self._states, rows.states)
            names = ("state_id", "updated")
            await run(
                self._change_runs, [{"run_id": row["id"]} | {name: row[name] for name in names} for row in rows.runs]
            )
        await run(self._change_runs, rows.changed_runs)
        await run(self._tasks, rows.tasks)
        await run(self._change_tasks, rows.changed_tasks)
        await run(self._task_states, rows.task_states)
        await run(self._logs, rows.logs)
        await run(self._artifacts, rows.artifacts)
        await run(self._latest_artifacts, _latest(rows.artifacts))
        await run(self._inputs, rows.inputs)


def _table(model: Any) -> sa.Table:
    table: sa.Table = model.__table__
    return table


def _change(model: Any) -> sa.Update:
    """What is set are the values of the rows."""
    return sa.update(_table(model)).where(_table(model).c.id == sa.bindparam("run_id"))


def _upsert(insert: Any, unique: Sequence[str], changed: Sequence[str]) -> Any:
    return insert.on_conflict_do_update(index_elements=unique, set_={name: insert.excluded[name] for name in changed})


def _latest(artifacts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table that Prefect's page of artifacts shows: the latest of each key, in the order of keys, in which
    whoever writes at the same time waits for the other."""
    by_key = {row["key"]: row for row in artifacts if row["key"] is not None}
    return [
        {name: value for name, value in row.items() if name != "id"} | {"latest_id": row["id"]}
        for _, row in sorted(by_key.items())
    ]


def _is_refusal(error: Exception) -> bool:
    """Whether it is the values' fault, and will be the next time."""
    if not isinstance(error, sa.exc.DBAPIError):
        return not isinstance(error, OSError | sa.exc.TimeoutError)
    if isinstance(error, sa.exc.IntegrityError | sa.exc.DataError):
        return True
    code = getattr(error.orig, "sqlstate", None) or ""
    return code[:2] in _REFUSALS or isinstance(getattr(error.orig, "__cause__", None), ValueError)


def _named(error: Exception) -> str:
    """What kind of error it is, without the values that its text may have."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return type(getattr(cause, "__cause__", None) or cause).__name__
