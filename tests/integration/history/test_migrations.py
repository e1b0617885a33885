"""The schema: how it comes to be, and what is said when it is not the one this version needs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from flows.history import migrations, open_store
from flows.history.database import database_url, single_transaction
from flows.history.models import metadata
from foundation.errors import ConfigurationError

HEAD = migrations._scripts().get_current_head()


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables; in the case of SQLite, without a file."""
    url: str = f"sqlite:///{tmp_path / 'history.db'}"
    return url if request.param == "sqlite" else request.getfixturevalue("postgres_url")


async def execute(url: str, statement: str) -> None:
    await single_transaction(database_url(url), lambda connection: connection.execute(text(statement)), writes=True)


async def test_tables_and_migrations_agree(history_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    assert await single_transaction(database_url(history_url), differences, writes=False) == []


async def test_an_upgraded_database_can_be_opened(empty_url: str) -> None:
    assert await migrations.current(empty_url) is None

    await migrations.upgrade(empty_url)

    assert await migrations.current(empty_url) == HEAD
    await migrations.check(empty_url)
    store = open_store(empty_url)
    await store.open()
    await store.ping()
    await store.close()


async def test_upgrading_again_changes_nothing(history_url: str) -> None:
    await execute(history_url, "INSERT INTO events (id, document) VALUES ('1', 'null')")

    await migrations.upgrade(history_url)

    await migrations.check(history_url)
    with pytest.raises(Exception, match=r"(?i)unique"):
        await execute(history_url, "INSERT INTO events (id, document) VALUES ('1', 'null')")


async def test_processes_that_upgrade_at_once_wait_for_each_other(empty_url: str) -> None:
    await asyncio.gather(*(migrations.upgrade(empty_url) for _ in range(4)))

    await migrations.check(empty_url)


async def test_a_database_that_was_never_migrated_is_not_opened(empty_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"has no tables yet: run `ipaas db upgrade`"):
        await open_store(empty_url).open()


async def test_asking_for_the_schema_creates_no_file(tmp_path: Path) -> None:
    await migrations.current(f"sqlite:///{tmp_path / 'history.db'}")

    assert list(tmp_path.iterdir()) == []


async def test_an_older_schema_is_not_opened(history_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class NextVersion:
        def get_current_head(self) -> str:
            return "9000"

        def get_revision(self, revision: str) -> str:
            return revision

    monkeypatch.setattr(migrations, "_scripts", NextVersion)

    with pytest.raises(ConfigurationError, match=f"schema is {HEAD}, this version needs 9000: run `ipaas db upgrade`"):
        await open_store(history_url).open()


async def test_a_newer_schema_is_neither_opened_nor_upgraded(empty_url: str) -> None:
    await migrations.upgrade(empty_url)
    await execute(empty_url, "UPDATE alembic_version SET version_num = '9999'")

    for attempt in (open_store(empty_url).open, lambda: migrations.upgrade(empty_url)):
        with pytest.raises(ConfigurationError, match="schema 9999 is newer than this version of ipaas knows"):
            await attempt()


async def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    await migrations.upgrade(f"sqlite:///{tmp_path / 'history.db'}")

    assert (tmp_path / "history.db").stat().st_mode & 0o777 == 0o600


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"the history's folder {tmp_path / 'none'} does not exist"):
        await migrations.upgrade(f"sqlite:///{tmp_path / 'none' / 'history.db'}")


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to have a header" * 10)

    with pytest.raises(ConfigurationError, match=r"notes\.txt is not usable: file is not a database"):
        await open_store(f"sqlite:///{tmp_path / 'notes.txt'}").open()


async def test_a_database_that_does_not_exist_is_named(postgres_server: str) -> None:
    with pytest.raises(ConfigurationError, match='database "ipaas_none" does not exist'):
        await open_store(f"{postgres_server.rpartition('/')[0]}/ipaas_none").open()
