"""Fills a history with a long past, straight into its tables: a million executions in some minutes.

What is written looks as if the store had written it. The same arguments make the same rows, but for their times: the
newest of `PAST` executions ended just now, and the first ones a month ago.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy import URL

from flows.history.database import database_url, sqlite_file
from flows.history.records import signal_address, step_address

PAST = 1_000_000
MONTH = timedelta(days=30)
CHUNK = 5_000  # executions in one transaction
SHARED_SIGNAL = signal_address("approved")
"""What many executions have waited for, one after the other."""

_STATUSES = {"succeeded": 930, "failed": 40, "timed_out": 10, "cancelled": 10, "skipped": 10}
_SMALL, _MEDIUM, _LARGE = ("x" * size for size in (900, 32_000, 1_000_000))

Value = str | int | float | bool | datetime | None
Rows = Mapping[str, Sequence[Mapping[str, Value]]]
"""By table."""


async def fill(url: str, executions: int, *, first: int = 0, workflows: int = 500) -> None:
    """Adds executions that have ended, the oldest first, with all that belongs to them.

    Args:
        url: of a migrated history.
        first: how many of this past are there already.
        workflows: `workflow-0` has most of the executions, the last one few.
    """
    past, address = Past(workflows), database_url(url)
    write = _into_postgres if sqlite_file(address) is None else _into_sqlite
    await write(
        address, (past.rows(start, min(start + CHUNK, first + executions)) for start in _starts(first, executions))
    )


def _starts(first: int, executions: int) -> range:
    return range(first, first + executions, CHUNK)


@dataclass
class Past:
    """What has happened: an execution every 2.6 seconds, with 1 to 30 steps, and an event of 1 KB, 32 KB or 1 MB."""

    workflows: int
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC) - MONTH)

    def rows(self, start: int, end: int) -> Rows:
        tables: dict[str, list[Mapping[str, Value]]] = {}
        for number in range(start, end):
            for table, row in _Ended(number, self).rows():
                tables.setdefault(table, []).append(row)
        return tables

    def accepted_at(self, number: int) -> datetime:
        return self.began_at + MONTH * number / PAST


class _Ended:
    """One execution."""

    def __init__(self, number: int, past: Past) -> None:
        self._random = random.Random(number)
        self._number, self._accepted_at = number, past.accepted_at(number)
        self._id = _uuid7(self._accepted_at, number)
        self._workflow = f"workflow-{int(past.workflows * self._random.random() ** 3)}"
        [self._status] = self._random.choices(list(_STATUSES), list(_STATUSES.values()))
        self._ended_at = self._accepted_at + timedelta(seconds=self._random.uniform(0.1, 60))
        self._replay_of = None
        if number and self._random.random() < 0.01:
            self._replay_of = _uuid7(past.accepted_at(number - 1), number - 1)

    def rows(self) -> Iterator[tuple[str, Mapping[str, Value]]]:
        event, digest = self._event(), f"{self._number:064x}"
        is_large = len(event) > 256 * 1024
        yield "events", {"id": self._id, "document": f"sha256:{digest}" if is_large else event}
        waited = self._random.random() < 0.03
        yield "executions", self._execution(waited=waited)
        if is_large:
            yield "payloads", {"hash": digest, "document": event}
            yield "payload_uses", {"execution_id": self._id, "hash": digest}
        yield (
            "deliveries",
            {
                "key": f"{self._random.getrandbits(256):064x}",
                "execution_id": self._id,
                "expires_at": self._accepted_at + 2 * MONTH,
            },
        )
        steps = min(1 + int(self._random.expovariate(1 / 3)), 30)
        for step in range(steps):
            yield "step_executions", self._step(step, is_last=step == steps - 1)
        if waited:
            yield "waits", self._wait()

    def _event(self) -> str:
        size = self._random.random()
        text = _LARGE if size < 0.0001 else _MEDIUM if size < 0.01 else _SMALL
        return f'{{"id":"{self._id}","body":{{"number":{self._number},"text":"{text}"}},"headers":{{}},"query":{{}}}}'

    def _execution(self, *, waited: bool) -> Mapping[str, Value]:
        begun_at, is_express = self._accepted_at + timedelta(milliseconds=20), bool(self._number % 2)
        return {
            "id": self._id,
            "workflow": self._workflow,
            "version": "v1",
            "trigger": "replay" if self._replay_of else "webhook",
            "status": self._status,
            "event_id": self._id,
            "accepted_at": self._accepted_at,
            "output": '{"sent":true}' if self._status == "succeeded" else None,
            "error": '{"code":"http","message":"503"}' if self._status == "failed" else None,
            "started_at": begun_at,
            "finished_at": self._ended_at,
            "flow_run_id": None if is_express else str(UUID(int=self._random.getrandbits(128))),
            "replay_of": self._replay_of,
            "admitted_at": begun_at,
            "begun_at": begun_at,
            "seen_at": self._ended_at,
            "dispatched_at": begun_at,
            "queued_at": self._accepted_at,
            "mode": "express" if is_express else "standard",
            "recorded_at": self._ended_at if is_express else None,
            "runs": 1 + waited,
            "parked_runs": int(waited),
        }

    def _step(self, step: int, *, is_last: bool) -> Mapping[str, Value]:
        failed = is_last and self._status == "failed"
        return {
            "execution_id": self._id,
            "path": f"step-{step}",
            "action": "http.request",
            "status": "failed" if failed else "succeeded",
            "attempts": 1,
            "started_at": self._accepted_at,
            "finished_at": self._ended_at,
            "output": None if failed else '{"status":200,"headers":{"content-type":"application/json"},"body":{}}',
        }

    def _wait(self) -> Mapping[str, Value]:
        shares = self._number % 2
        return {
            "execution_id": self._id,
            "path": "step-0",
            "kind": "signal" if shares else "callback",
            "address": SHARED_SIGNAL if shares else step_address(self._id, "step-0"),
            "begun_at": self._accepted_at,
            "due_at": self._ended_at,
            "ended_at": self._ended_at,
            "answered": True,
        }


def _uuid7(at: datetime, number: int) -> str:
    """RFC 9562, with a number in place of what is random."""
    time = f"{int(at.timestamp() * 1000):012x}"
    return f"{time[:8]}-{time[8:]}-7000-8000-{number:012x}"


# The two databases


async def _into_postgres(url: URL, chunks: Iterator[Rows]) -> None:
    connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        for tables in chunks:
            async with connection.transaction():
                for table, rows in tables.items():
                    values = [tuple(row.values()) for row in rows]
                    await connection.copy_records_to_table(table, records=values, columns=list(rows[0]))
        await connection.execute("VACUUM ANALYZE")  # as autovacuum does
    finally:
        await connection.close()


async def _into_sqlite(url: URL, chunks: Iterator[Rows]) -> None:
    connection = sqlite3.connect(url.database or "")
    connection.execute("PRAGMA synchronous = OFF")  # whoever is killed here begins anew
    connection.execute("PRAGMA cache_size = -500000")  # KiB
    for tables in chunks:
        with connection:
            for table, rows in tables.items():
                columns = list(rows[0])
                places = ", ".join("?" * len(columns))
                statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
                connection.executemany(statement, [[_as_stored(value) for value in row.values()] for row in rows])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _as_stored(value: Value) -> Any:
    """As `UtcDateTime` is in SQLite: UTC without saying so."""
    return value.replace(tzinfo=None).isoformat(" ", "microseconds") if isinstance(value, datetime) else value
