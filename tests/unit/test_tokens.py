"""Where the management API's tokens come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.tokens import full_tokens, read_tokens


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")

    [first], [second] = full_tokens(settings), full_tokens(settings)

    assert first == second
    assert len(first) >= 40
    assert settings.token_file.stat().st_mode & 0o777 == 0o600


def test_the_operators_token_counts_and_none_is_made(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, api_token="mine", api_read_token="theirs")

    assert (full_tokens(settings), read_tokens(settings)) == (("mine",), ("theirs",))
    assert not settings.token_file.exists()


def test_nobody_may_only_read_unless_the_operator_says_so(tmp_path: Path) -> None:
    assert read_tokens(Settings(home=tmp_path)) == ()


def test_an_empty_token_file_lets_nobody_in(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.token_file.touch()

    with pytest.raises(ConfigurationError, match=r"api-token is empty: remove it"):
        full_tokens(settings)


def test_a_token_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="can't use the API token file"):
        full_tokens(Settings(home=tmp_path / "file"))
