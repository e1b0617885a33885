"""Which actions there are, and how packages add theirs."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from blocks.credential import BLOCK_TYPES, Credential
from connectors import slack
from connectors.kit.action import action
from connectors.kit.registry import GROUP, connectors, get, load, names
from connectors.webhooks import PRESETS, Scheme
from foundation.errors import ConfigurationError, NotFound


async def _order(*, sku: str) -> str:
    """Orders: https://acme.example/docs."""
    return sku


@pytest.fixture
def package(monkeypatch):
    """Makes a package whose module `acme_actions` has actions of these names, and gives its entry point."""

    def make(*action_names: str, **others: Any) -> EntryPoint:
        module = ModuleType("acme_actions")
        vars(module).update(others)
        for number, name in enumerate(action_names):
            setattr(module, f"action_{number}", action(name)(_order))
        monkeypatch.setitem(sys.modules, "acme_actions", module)
        return EntryPoint(name="acme", value="acme_actions", group=GROUP)

    return make


def test_the_built_in_actions_are_there_sorted() -> None:
    assert get("slack.post_message") is slack.post_message
    assert names() == sorted(names())
    assert [action.action_name for action in connectors()["transform"]] == ["transform.jmespath", "transform.template"]
    assert list(connectors()) == sorted(connectors())


def test_an_unknown_name_comes_with_the_nearest() -> None:
    with pytest.raises(NotFound, match=r"no action 'slack.postmessage': did you mean slack.post_message\?"):
        get("slack.postmessage")
    with pytest.raises(NotFound, match="ipaas connectors list"):
        get("zzz")


def test_a_packages_actions_join_them(package) -> None:
    found = load([package("acme.order", "acme.cancel")])
    assert {"acme.order", "acme.cancel", "slack.post_message"} <= set(found)
    assert list(found) == sorted(found)


def test_a_package_that_cannot_be_loaded_is_named() -> None:
    broken = EntryPoint(name="acme", value="no_such_module_anywhere", group=GROUP)
    with pytest.raises(
        ConfigurationError, match=r"connector 'acme' \(no_such_module_anywhere\) can't be loaded: Module"
    ):
        load([broken])


def test_a_package_without_actions_is_named(package) -> None:
    with pytest.raises(ConfigurationError, match=r"connector 'acme' .* has no actions"):
        load([package()])


def test_a_package_cannot_take_a_name_that_is_taken(package) -> None:
    with pytest.raises(ConfigurationError, match=r"connector 'acme' .* claims slack.post_message, which is taken"):
        load([package("slack.post_message")])


def test_a_package_may_use_what_another_connector_has(package) -> None:
    found = load([package("acme.order", post=slack.post_message, webhook=slack.WEBHOOK)])
    assert found["slack.post_message"] is slack.post_message


@pytest.mark.parametrize("name", ["slack", "github", "hmac", "custom"])
def test_a_package_cannot_take_a_webhook_scheme_that_is_taken(package, name) -> None:
    scheme = Scheme(name=name, signature="header:X-Signature")
    with pytest.raises(ConfigurationError, match=f"connector 'acme' .* claims {name}, which is taken"):
        load([package("acme.order", webhook=scheme)])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Prefect's own, of the same
def test_a_package_cannot_take_a_credential_type_that_is_taken(monkeypatch, tmp_path) -> None:
    (tmp_path / "acme_credential.py").write_text(
        "from pydantic import SecretStr\n"
        "from blocks import Credential\n"
        "class Acme(Credential):\n"
        "    _block_type_slug = 'slack'\n"
        "    secret: SecretStr\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BLOCK_TYPES, "slack", slack.SlackCredential)  # and back afterwards
    with pytest.raises(ConfigurationError, match=r"connector 'acme' .* claims the credential type slack"):
        load([EntryPoint(name="acme", value="acme_credential", group=GROUP)])


def test_each_connectors_credential_type_is_known(package) -> None:
    load([])
    assert BLOCK_TYPES["slack"] is slack.SlackCredential
    assert issubclass(BLOCK_TYPES["discord"], Credential)


def test_senders_with_a_connector_are_among_the_presets() -> None:
    assert PRESETS["slack"] == slack.WEBHOOK
    assert {"slack", "discord", "github"} <= set(PRESETS)
    assert len(PRESETS) == len(list(PRESETS))
    assert "nobody" not in PRESETS
