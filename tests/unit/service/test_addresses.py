"""Where a running platform leaves its addresses, and what other processes make of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.cli.session import read_settings
from ipaas.platform.environment import (
    Addresses,
    client_environment,
    prefect_hosts,
    server_environment,
    use_running_platform,
)

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


AUTH = "ada:s3cret"


def with_auth(home: Path) -> Settings:
    return Settings(_env_file=None, home=home, prefect_auth=AUTH)  # type: ignore[call-arg]


def test_the_parts_of_a_guarded_platform_know_its_password(tmp_path: Path) -> None:
    settings = with_auth(tmp_path)

    assert client_environment(settings, THERE)["PREFECT_API_AUTH_STRING"] == AUTH
    assert server_environment(settings, host="0.0.0.0", port=4200)["PREFECT_SERVER_API_AUTH_STRING"] == AUTH


def test_a_command_finds_the_password_in_the_home(settings: Settings) -> None:
    THERE.write(with_auth(settings.home))

    use_running_platform(settings)

    assert os.environ["PREFECT_API_AUTH_STRING"] == AUTH
    assert settings.prefect_auth_file.stat().st_mode & 0o777 == 0o600
    assert AUTH not in Addresses.path(settings).read_text()


def test_the_homes_password_is_for_no_other_prefect(settings: Settings) -> None:
    THERE.write(with_auth(settings.home))
    os.environ["PREFECT_API_URL"] = "https://elsewhere.test/api"

    use_running_platform(settings)

    assert "PREFECT_API_AUTH_STRING" not in os.environ


def test_a_password_from_the_environment_is_used_with_any_prefect(tmp_path: Path) -> None:
    os.environ["PREFECT_API_URL"] = "https://elsewhere.test/api"

    use_running_platform(with_auth(tmp_path))

    assert os.environ["PREFECT_API_AUTH_STRING"] == AUTH


def test_nothing_of_a_stopped_platform_stays(settings: Settings) -> None:
    THERE.write(with_auth(settings.home))

    Addresses.remove(settings)

    assert list(settings.home.iterdir()) == []


@pytest.mark.parametrize("text", ["", "ada", "ada:", ":s3cret", "ada:s3crét", "ada:s3\ncret"])
def test_a_password_that_is_none_is_not_repeated(tmp_path: Path, text: str) -> None:
    os.environ["IPAAS_PREFECT_AUTH"] = text

    with pytest.raises(ConfigurationError, match=r"IPAAS_PREFECT_AUTH: .* user:password") as refusal:
        read_settings()

    assert "s3c" not in str(refusal.value)


def test_prefects_server_writes_into_the_home_and_permits_no_other_origin(settings: Settings) -> None:
    server = server_environment(settings, host="127.0.0.1", port=4300)

    assert server["PREFECT_UI_STATIC_DIRECTORY"] == str(settings.home / "prefect" / "ui")
    assert "http://127.0.0.1:4300" in server["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert "*" not in server["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]


def test_where_the_settings_say_that_prefect_is_found_it_answers(settings: Settings) -> None:
    os.environ["PREFECT_API_URL"] = "http://prefect.internal:4200/api"

    assert "prefect.internal:4200" in prefect_hosts(settings, host="0.0.0.0", port=4200)
