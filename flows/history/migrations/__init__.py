"""The history's schema over time: Alembic revisions in `versions/`, run by `ipaas db upgrade` and `ipaas up`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from flows.history.database import database_url, single_transaction, sqlite_file
from foundation.errors import ConfigurationError

_LOCK = 0x69_70_61_61_73  # "ipaas": the advisory lock's number, the same in every process


async def upgrade(url: str, revision: str = "head") -> None:
    """Brings the schema to this version's. Does nothing when it is there; safe when several processes do it at once.

    Args:
        revision: an older one, for tests of the way from there.
    Raises:
        ConfigurationError: the schema is newer than this version knows, or the SQLite file's folder is missing.
        StorageUnavailable: the database does not answer.
    """
    parsed = database_url(url)
    file = sqlite_file(parsed)
    if file is not None:
        if not file.absolute().parent.is_dir():
            raise ConfigurationError(f"the history's folder {file.absolute().parent} does not exist")
        file.touch(mode=0o600)  # events are nobody else's business; SQLite gives its other files the same mode
    await single_transaction(parsed, partial(_upgrade, target=revision), writes=True, at_start=True)


async def current(url: str) -> str | None:
    """The schema's revision; None when the database was never migrated."""
    parsed = database_url(url)
    file = sqlite_file(parsed)
    if file is not None and not file.exists():  # connecting would create it
        return None
    return await single_transaction(parsed, _current, writes=False, at_start=True)


async def check(url: str) -> None:
    """Raises ConfigurationError, saying what to do, unless the schema is this version's."""
    revision, newest = await current(url), _scripts().get_current_head()
    if revision is None:
        raise ConfigurationError("the history's database has no tables yet: run `ipaas db upgrade`")
    if revision != newest:
        _require_known(revision)
        raise ConfigurationError(
            f"the history's schema is {revision}, this version needs {newest}: run `ipaas db upgrade`"
        )


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection, target: str) -> None:
    if connection.dialect.name == "postgresql":  # on SQLite the transaction itself lets nobody else in
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    revision = _current(connection)
    if revision is not None:
        _require_known(revision)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, target)


def _require_known(revision: str) -> None:
    try:
        _scripts().get_revision(revision)
    except CommandError:
        raise ConfigurationError(
            f"the history's schema {revision} is newer than this version of ipaas knows: update ipaas"
        ) from None


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
