"""What can be expected to go wrong is one line on standard error and exit code 1; usage errors are 2."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "command",
    [["workflows"], ["executions"], ["executions", "show", "x"], ["diff"], ["run", "hello"], ["db", "check"]],
)
def test_without_a_history_it_says_what_to_run(ipaas, command):
    outcome = ipaas(*command)
    assert outcome.code == 1
    assert outcome.err == "ipaas: the history's database has no tables yet: run `ipaas db upgrade`\n"
    assert outcome.out == ""


@pytest.mark.parametrize("command", [["credentials"], ["keys", "rotate"], ["credentials", "delete", "x"]])
def test_without_a_platform_it_says_how_to_start_one(ipaas, command):
    outcome = ipaas(*command)
    assert (outcome.code, outcome.out) == (1, "")
    assert "start the platform with `ipaas up`" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_setting_that_is_wrong_is_named(ipaas, monkeypatch):
    monkeypatch.setenv("IPAAS_BACKLOG", "many")
    outcome = ipaas("workflows")
    assert outcome.code == 1
    assert outcome.err.startswith("ipaas: IPAAS_BACKLOG: ")


def test_a_home_that_cannot_be_made_is_named(ipaas, file, monkeypatch):
    monkeypatch.setenv("IPAAS_HOME", str(file("a-file", "") / "home"))
    outcome = ipaas("keys", "new")
    assert outcome.code == 1
    assert "a-file/home" in outcome.err


def test_broken_addresses_are_named(ipaas, home: Path):
    home.mkdir()
    (home / "addresses.json").write_text("{")
    outcome = ipaas("workflows")
    assert outcome.code == 1
    assert f"{home}/addresses.json is broken" in outcome.err


def test_a_file_that_is_no_database_is_named(ipaas, home: Path):
    home.mkdir()
    (home / "ipaas.db").write_text("nothing of the kind")
    outcome = ipaas("workflows")
    assert outcome.code == 1
    assert f"{home}/ipaas.db is not usable" in outcome.err


@pytest.mark.parametrize(
    "command",
    [
        ["executions", "list", "--since", "yesterday"],
        ["executions", "list", "--since", "2026-01-31T12:00:00"],
        ["executions", "list", "--status", "lost"],
        ["executions", "replay"],
        ["executions", "replay", "x", "--workflow", "y"],
        ["run", "hello", "--body", "a", "--event", "b"],
        ["db", "prune", "--older-than", "long"],
        ["nonsense"],
    ],
)
def test_usage_errors_are_2(ipaas, command):
    outcome = ipaas(*command)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Error: " in outcome.err
