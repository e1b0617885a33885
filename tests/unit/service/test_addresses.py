"""Where a running platform leaves its addresses, and what other processes make of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.platform.environment import Addresses, client_environment, server_environment, use_running_platform

THERE = Addresses(gateway="http://127.0.0.1:1", prefect_api="http://127.0.0.1:2/api", prefect_ui="http://127.0.0.1:2")


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Says nothing of Prefect, and is as before afterwards."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "IPAAS_"))}
    with mock.patch.dict(os.environ, kept, clear=True):
        yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]


def test_addresses_are_read_as_they_were_left(settings: Settings) -> None:
    assert Addresses.read(settings) is None

    THERE.write(settings)

    assert Addresses.read(settings) == THERE


def test_a_broken_file_says_what_to_do(settings: Settings) -> None:
    Addresses.path(settings).write_text("{")

    with pytest.raises(ConfigurationError, match="remove it"):
        Addresses.read(settings)


def test_a_command_finds_the_platform_of_its_home(settings: Settings) -> None:
    THERE.write(settings)

    use_running_platform(settings)

    assert os.environ["PREFECT_API_URL"] == THERE.prefect_api
    assert os.environ["PREFECT_HOME"] == str(settings.home / "prefect")


def test_a_prefect_that_the_environment_names_wins(settings: Settings) -> None:
    THERE.write(settings)
    os.environ["PREFECT_API_URL"] = "https://prefect.test/api"

    use_running_platform(settings)

    assert os.environ["PREFECT_API_URL"] == "https://prefect.test/api"


def test_where_nothing_runs_no_prefect_is_named(settings: Settings) -> None:
    use_running_platform(settings)

    assert "PREFECT_API_URL" not in os.environ


def test_the_parts_of_one_platform_share_its_addresses(settings: Settings) -> None:
    os.environ["PREFECT_API_URL"] = "https://elsewhere.test/api"

    client = client_environment(settings, THERE)

    assert client["PREFECT_API_URL"] == THERE.prefect_api
    assert client["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] == "false"


def test_the_server_keeps_its_database_in_the_home_unless_the_operator_says_otherwise(settings: Settings) -> None:
    server = server_environment(settings, host="127.0.0.1", port=4300)
    assert server["PREFECT_API_DATABASE_CONNECTION_URL"] == f"sqlite+aiosqlite:///{settings.home / 'prefect.db'}"
    assert (server["PREFECT_SERVER_API_HOST"], server["PREFECT_SERVER_API_PORT"]) == ("127.0.0.1", "4300")

    os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = "postgresql+asyncpg://db/prefect"
    server = server_environment(settings, host="127.0.0.1", port=4300)
    assert server["PREFECT_API_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://db/prefect"
