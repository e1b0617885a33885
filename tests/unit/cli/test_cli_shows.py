"""`ipaas keys`, `ipaas connectors` and what `ipaas credentials set` refuses before it asks Prefect."""

from __future__ import annotations

import base64

import pytest

from blocks import Keyring


def test_a_new_key_becomes_the_newest_of_the_file(ipaas, home):
    [first] = ipaas("keys", "--json").document["items"]
    assert ipaas("keys", "new").out == ""
    newer, older = ipaas("keys", "list", "--json").document["items"]
    assert (older["id"], older["use"]) == (first["id"], "opens")
    assert newer["use"] == "seals and opens"


def test_with_keys_from_the_environment_new_prints_one(ipaas, home, monkeypatch):
    monkeypatch.setenv("IPAAS_ENCRYPTION_KEYS", Keyring.new_key())
    outcome = ipaas("keys", "new")
    assert len(base64.b64decode(outcome.out)) == 32
    assert "in front of IPAAS_ENCRYPTION_KEYS" in outcome.err
    assert not home.exists()


def test_no_key_is_ever_listed(ipaas, home):
    ipaas("keys", "new")
    shown = ipaas("keys").out + ipaas("keys", "--json").out
    keys = [line for line in (home / "encryption-keys").read_text().splitlines() if not line.startswith("#")]
    assert len(keys) == 1
    assert keys[0] not in shown


def test_connectors_are_listed_with_their_actions(ipaas):
    out = ipaas("connectors").out
    assert "slack.post_message" in out
    assert "bearer or basic or oauth2 or google-service-account or github-app or api-key (optional)" in out


def test_an_action_is_shown_in_python_and_in_yaml(ipaas):
    out = ipaas("connectors", "show", "slack").out
    assert out.startswith("await slack.post_message(channel: str, text: str | None = None, ")
    assert "https://docs.slack.dev/reference/methods/chat.postMessage" in out
    assert "      credential: NAME  # of type slack\n" in out
    assert "        channel: …  # str\n" in out


def test_an_action_has_a_document(ipaas):
    [action] = ipaas("connectors", "show", "openweather.current_weather", "--json").document["actions"]
    assert action["credential"] == {"types": ["openweather"], "required": True}
    assert action["arguments"][0] == {"name": "city", "type": "str", "required": True}
    assert action["arguments"][1]["default"] == "metric"


def test_an_unknown_connector_or_action_is_named(ipaas):
    assert "there is no connector slak; there are: " in ipaas("connectors", "show", "slak").err
    assert "did you mean slack.post_message?" in ipaas("connectors", "show", "slack.post_mesage").err


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["s", "--type", "slak"], "{}", "there is no credential type 'slak': choose one of "),
        (["My Slack", "--type", "slack"], "{}", "can't name a credential"),
        (["s", "--type", "slack"], '{"token": "xoxb-secret', "standard input is not JSON: line 1, column 11"),
        (["s", "--type", "slack"], '["xoxb-secret"]', "give one JSON object with token"),
        (["s", "--type", "slack"], '{"tokn": "xoxb-secret"}', "has no field tokn"),
    ],
)
def test_a_credential_that_is_none_is_refused_and_never_quoted(ipaas, arguments, stdin, said):
    outcome = ipaas("credentials", "set", *arguments, stdin=stdin)
    assert (outcome.code, outcome.out) == (1, "")
    assert said in outcome.err
    assert "xoxb" not in outcome.err
