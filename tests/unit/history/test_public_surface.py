from __future__ import annotations

import subprocess
import sys

import pytest

import flows.history
from flows.history import open_store
from flows.history.database import database_url
from flows.history.sql import SqlStore
from foundation.errors import ConfigurationError


def test_the_public_names_are_sorted_and_exist() -> None:
    assert flows.history.__all__ == sorted(flows.history.__all__)
    assert all(hasattr(flows.history, name) for name in flows.history.__all__)


def test_no_database_library_is_loaded_before_a_store_is_opened() -> None:
    heavy = "{'sqlalchemy', 'sqlmodel', 'alembic', 'sqlite3', 'asyncpg', 'prefect'}"
    script = f"import sys, flows.history; print({heavy} & set(sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert loaded.stdout == "set()\n"


@pytest.mark.parametrize("url", ["sqlite:///history.db", "postgresql://user@host/db", "postgres://user@host/db"])
def test_a_database_url_makes_its_store(url: str) -> None:
    assert isinstance(open_store(url), SqlStore)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://host/db", "a history in 'mysql' is not supported: use sqlite:///path or postgresql://…"),
        ("redis+x://host", "a history in 'redis' is not supported"),
        ("history.db", "the database URL is not a URL"),
        ("sqlite://", "the history needs a file: use sqlite:///path"),
        ("sqlite:///:memory:", "the history needs a file"),
    ],
)
def test_another_database_is_refused_by_name(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_store(url)

    assert complaint in str(refused.value)


def test_the_driver_is_chosen_here_whatever_the_url_says() -> None:
    assert database_url("sqlite+pysqlite:///a.db").drivername == "sqlite+pysqlite"
    assert database_url("postgresql+psycopg://host/db").drivername == "postgresql+asyncpg"


def test_libpqs_sslmode_is_understood() -> None:
    assert dict(database_url("postgresql://host/db?sslmode=require").query) == {"ssl": "require"}
