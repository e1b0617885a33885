"""Every connector there is: the built-in ones and those that packages register.

A package registers a connector through the entry point group `ipaas.connectors`; the entry point names the module that
holds its actions, its credential type and its webhook presets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, TypeVar

from blocks.credential import BLOCK_TYPES
from connectors.kit.action import Action
from connectors.kit.descriptions import GROUP, module_of, pinned_names
from connectors.webhooks.options import GENERIC
from connectors.webhooks.presets import SENDERS
from connectors.webhooks.scheme import Scheme
from foundation.errors import ConfigurationError, NotFound

BUILT_IN = ("discord", "http", "imap", "log", "openapi", "openweather", "rss", "slack", "transform")

AnyAction = Action[Any, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class _Connectors:
    """What the loaded connectors bring, by name."""

    actions: dict[str, AnyAction] = field(default_factory=dict)
    schemes: dict[str, Scheme] = field(default_factory=dict)


class _Actions(Mapping[str, AnyAction]):
    """Those that are loaded, and those of pinned documents."""

    def __init__(self, loaded: Mapping[str, AnyAction]) -> None:
        self._loaded = loaded

    def __getitem__(self, name: str) -> AnyAction:
        if name in self._loaded:
            return self._loaded[name]
        found: AnyAction | None = None
        if pinned_names(name.partition(".")[0]):
            found = import_module("connectors.openapi.operations").operation_action(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(sorted([*self._loaded, *(name for name in pinned_names() if name not in self._loaded)]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def load_connectors() -> Mapping[str, AnyAction]:
    """Loads every connector, once, and gives their actions; afterwards `blocks.BLOCK_TYPES` has all credential types.

    For whoever needs all credential types: sealing, forms, the command line. Each type is known as soon as its class
    exists, and its class stands in its connector's module.

    Raises:
        ConfigurationError: a package's connector can't be loaded, or claims a name that is taken; the message names it.
    """
    return _all().actions


def registry() -> Mapping[str, AnyAction]:
    """All actions by name, sorted; those of the project's OpenAPI documents are made when they are asked for.

    Raises as `load_connectors`.
    """
    return _Actions(_all().actions)


def schemes() -> Mapping[str, Scheme]:
    """The webhook presets of connectors by name, sorted. Raises as `load_connectors`."""
    return _all().schemes


def load(plugins: Iterable[EntryPoint] = ()) -> Mapping[str, AnyAction]:
    """The built-in actions and those of `plugins`. Raises as `load_connectors`."""
    return _load(plugins).actions


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


@cache
def _all() -> _Connectors:
    return _load(entry_points(group=GROUP))


def _load(plugins: Iterable[EntryPoint]) -> _Connectors:
    found = _Connectors()
    for name in BUILT_IN:
        module = import_module(module_of(name))
        found.actions.update((action.action_name, action) for action in _kept_in(module, Action))
        found.schemes.update((scheme.name, scheme) for scheme in _kept_in(module, Scheme))
    for plugin in plugins:
        place = f"connector {plugin.name!r} ({plugin.value}"
        place += f", from {plugin.dist.name})" if plugin.dist else ")"
        types = dict(BLOCK_TYPES)
        try:
            module = plugin.load()
        except Exception as error:
            raise ConfigurationError(f"{place} can't be loaded: {type(error).__name__}: {error}") from error
        if changed := [slug for slug, kind in types.items() if BLOCK_TYPES[slug] is not kind]:
            raise ConfigurationError(f"{place} claims the credential type {changed[0]}, which is taken")
        actions = {action.action_name: action for action in _kept_in(module, Action)}
        if not actions:
            raise ConfigurationError(
                f"{place} has no actions: its entry point must name a module with @action functions"
            )
        _add(found.actions, actions, place)
        schemes = {scheme.name: scheme for scheme in _kept_in(module, Scheme)}
        _add(found.schemes, schemes, place, taken={*SENDERS, *GENERIC, "custom"})
    return _Connectors(dict(sorted(found.actions.items())), dict(sorted(found.schemes.items())))


def _add(known: dict[str, T], new: Mapping[str, T], place: str, taken: Collection[str] = ()) -> None:
    for name, value in new.items():
        if known.get(name, value) is not value or name in taken:
            raise ConfigurationError(f"{place} claims {name}, which is taken")
        known[name] = value


def _kept_in(module: ModuleType, kind: type[T]) -> Iterator[T]:
    return (value for value in vars(module).values() if isinstance(value, kind))
