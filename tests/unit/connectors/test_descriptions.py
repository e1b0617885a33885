"""What is known of actions without loading them is what they are."""

from __future__ import annotations

import pytest

from connectors.kit import descriptions
from connectors.kit.descriptions import DESCRIPTIONS, FILE, GROUP
from connectors.kit.registry import BUILT_IN, registry, schemes


@pytest.fixture
def anew(monkeypatch):
    """Nothing is remembered of the file, before and after the test."""
    remembered = [one for one in vars(descriptions).values() if hasattr(one, "cache_clear")]
    for one in remembered:
        one.cache_clear()
    yield
    monkeypatch.undo()
    for one in remembered:
        one.cache_clear()


def test_they_are_those_of_the_actions() -> None:
    assert {name: DESCRIPTIONS[name].as_data() for name in DESCRIPTIONS} == {
        name: action.described.as_data() for name, action in registry().items()
    }
    assert descriptions.schemes() == schemes()


def test_the_file_has_every_built_in_connector() -> None:
    assert sorted(descriptions._written()) == sorted(BUILT_IN)


def test_an_action_that_there_is_not() -> None:
    assert "log.massage" not in DESCRIPTIONS
    assert "fax.send" not in DESCRIPTIONS


def test_a_connector_that_was_changed_since_is_loaded(monkeypatch, anew, tmp_path) -> None:
    file = tmp_path / "descriptions.json"
    file.write_text(FILE.read_text().replace('"source": "', '"source": "0'))
    monkeypatch.setattr(descriptions, "FILE", file)
    assert descriptions._written() == {}
    assert DESCRIPTIONS["log.message"].required == ["text"]


def test_a_package_brings_its_own(monkeypatch, anew) -> None:
    monkeypatch.setattr(descriptions, "_has_plugins", lambda: True)
    monkeypatch.setattr(descriptions, "_loaded", lambda: {"acme.send": "described"})
    assert DESCRIPTIONS["acme.send"] == "described"
    assert list(DESCRIPTIONS) == ["acme.send"]
    assert GROUP == "ipaas.connectors"
