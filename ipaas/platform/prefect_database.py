"""A new database for Prefect's server, ready made: its hundred migrations take seconds, the tables they end in none.

`prefect_database.sql` is what they make of an empty SQLite file with the version of Prefect that its first line names;
`python -m ipaas.platform.prefect_database > ipaas/platform/prefect_database.sql` writes it anew, and a test holds it
against the migrations. Every other version of Prefect, and every other database, is migrated as ever.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

TABLES: Final = Path(__file__).with_name("prefect_database.sql")


def create_new_database(url: str) -> bool:
    """Makes the SQLite file of `url`, if there is none; whether it did. Else it is left to Prefect's migrations.

    Raises:
        OSError, sqlite3.Error: the file can't be written.
    """
    file = _file(url)
    if file is None or file.exists() or not file.parent.is_dir():
        return False
    first, _, statements = TABLES.read_text(encoding="utf-8").partition("\n")
    if first != _first_line():
        return False
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(name)) as database:
            database.executescript(statements)
        with suppress(FileExistsError):  # another server made it meanwhile
            os.link(name, file)
    finally:
        os.unlink(name)
    return True


def _file(url: str) -> Path | None:
    parsed = make_url(url)
    name = parsed.database or ""
    return Path(name) if parsed.get_backend_name() == "sqlite" and Path(name).is_absolute() else None


def _first_line() -> str:
    return f"-- Prefect {version('prefect')}"


def migrated_tables() -> str:
    """What Prefect's migrations make of an empty file, as the text of `prefect_database.sql`. Takes seconds.

    Raises:
        subprocess.CalledProcessError: they fail.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.db"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment |= {
            "PREFECT_HOME": folder,
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{file}",
            "DO_NOT_TRACK": "1",
            "PYTHONHASHSEED": "0",  # the order of a table's constraints comes from sets
        }
        upgrade = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
        subprocess.run(upgrade, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - Prefect's own
        with closing(sqlite3.connect(file)) as database:
            statements = "\n".join(database.iterdump())
    lines = [line.rstrip() for line in statements.splitlines()]
    return "\n".join([_first_line(), *lines, ""])


if __name__ == "__main__":
    sys.stdout.write(migrated_tables())
