"""The ready-made database of Prefect's server, against what Prefect's own migrations make."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ipaas.platform import prefect_database
from ipaas.platform.prefect_database import TABLES, create_new_database, migrated_tables


def tables_of(statements: str) -> list[tuple[str, ...]]:
    """Every table, index and trigger, its columns in order; however its SQL is spaced, quoted and its constraints are
    ordered, which depends on the versions of SQLite and Python."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(statements)
        found = database.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master").fetchall()
        columns = {name: str(database.execute(f"PRAGMA table_xinfo('{name}')").fetchall()) for _, name, _, _ in found}
    return sorted((kind, name, table, columns[name], *_lines(sql)) for kind, name, table, sql in found)


def _lines(sql: str) -> list[str]:
    return sorted("".join(line.replace('"', "").split()).rstrip(",") for line in sql.splitlines())


def rows_of(statements: str) -> list[str]:
    return [line for line in statements.splitlines() if line.startswith("INSERT")]


def url_of(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


def test_the_ready_made_tables_are_those_of_prefects_migrations() -> None:
    ready_made, migrated = TABLES.read_text(encoding="utf-8"), migrated_tables()
    assert ready_made.splitlines()[0] == migrated.splitlines()[0]
    assert tables_of(ready_made) == tables_of(migrated)
    assert rows_of(ready_made) == rows_of(migrated)
    assert [row.split('"')[1] for row in rows_of(migrated)] == ["alembic_version"]  # nothing that a home has for itself


def test_a_new_database_has_them(tmp_path: Path) -> None:
    file = tmp_path / "prefect.db"
    assert create_new_database(url_of(file))
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)
    assert list(tmp_path.iterdir()) == [file]


def test_a_database_that_is_there_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "prefect.db"
    file.write_bytes(b"")
    assert not create_new_database(url_of(file))
    assert file.read_bytes() == b""


@pytest.mark.parametrize(
    "url",
    ["postgresql+asyncpg://me@database/prefect", "sqlite+aiosqlite:///:memory:", "sqlite+aiosqlite:////no/folder/x.db"],
)
def test_another_database_is_left_to_prefect(url: str) -> None:
    assert not create_new_database(url)


def test_another_version_of_prefect_migrates_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_database, "version", lambda name: "99.0")
    assert not create_new_database(url_of(tmp_path / "prefect.db"))
    assert not list(tmp_path.iterdir())
