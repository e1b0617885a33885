"""Every action there is: the built-in connectors' and those that packages register.

A package registers a connector through the entry point group `ipaas.connectors`; the entry point names the module that
holds its actions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType, ModuleType
from typing import Any

from connectors.kit.action import Action
from foundation.errors import ConfigurationError, NotFound

GROUP = "ipaas.connectors"
BUILT_IN = ("discord", "http", "log", "openweather", "slack", "transform")

AnyAction = Action[Any, Any]


@cache
def registry() -> Mapping[str, AnyAction]:
    """All actions by name, sorted. Loaded once.

    Raises:
        ConfigurationError: a package's connector can't be loaded, or claims a name that is taken; the message names it.
    """
    return load(entry_points(group=GROUP))


def load(plugins: Iterable[EntryPoint] = ()) -> Mapping[str, AnyAction]:
    """The built-in actions and those of `plugins`."""
    found: dict[str, AnyAction] = {}
    for name in BUILT_IN:
        found.update((action.action_name, action) for action in _actions_in(import_module(f"connectors.{name}")))
    for plugin in plugins:
        place = f"connector {plugin.name!r} ({plugin.value}"
        place += f", from {plugin.dist.name})" if plugin.dist else ")"
        try:
            actions = list(_actions_in(plugin.load()))
        except Exception as error:
            raise ConfigurationError(f"{place} can't be loaded: {type(error).__name__}: {error}") from error
        if not actions:
            raise ConfigurationError(
                f"{place} has no actions: its entry point must name a module with @action functions"
            )
        for action in actions:
            if action.action_name in found:
                raise ConfigurationError(f"{place} claims {action.action_name}, which is taken")
            found[action.action_name] = action
    return MappingProxyType(dict(sorted(found.items())))


def get(name: str) -> AnyAction:
    """The action called `name`.

    Raises:
        NotFound: there is none; the message has the nearest name.
    """
    try:
        return registry()[name]
    except KeyError:
        near = get_close_matches(name, registry(), n=1)
        hint = f": did you mean {near[0]}?" if near else ": see `ipaas connectors list`"
        raise NotFound(f"there is no action {name!r}{hint}") from None


def names() -> list[str]:
    """All actions' names, sorted."""
    return list(registry())


def connectors() -> Mapping[str, list[AnyAction]]:
    """The actions of each connector, both sorted by name."""
    grouped: dict[str, list[AnyAction]] = {}
    for action in registry().values():
        grouped.setdefault(action.connector, []).append(action)
    return dict(sorted(grouped.items()))


def _actions_in(module: ModuleType) -> Iterator[AnyAction]:
    return (value for value in vars(module).values() if isinstance(value, Action))
