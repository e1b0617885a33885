"""Which actions there are, and how packages add theirs."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from connectors import slack
from connectors.kit.action import action
from connectors.kit.registry import GROUP, connectors, get, load, names
from foundation.errors import ConfigurationError, NotFound


async def _order(*, sku: str) -> str:
    """Orders: https://acme.example/docs."""
    return sku


@pytest.fixture
def package(monkeypatch):
    """Makes a package whose module `acme_actions` has actions of these names, and gives its entry point."""

    def make(*action_names: str) -> EntryPoint:
        module = ModuleType("acme_actions")
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
