"""All actions and webhook presets as plain data, known without loading the connectors, which bring Prefect.

The built-in connectors' are read from `connectors/descriptions.json`. It says which source each was made from: a
connector that was changed since is loaded, and so are those that packages register. `python docs/generate.py` writes
the file anew. Those of the project's OpenAPI documents are made of the documents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from connectors.kit.description import Description
from connectors.webhooks.scheme import Scheme

GROUP: Final = "ipaas.connectors"
"""The entry point group through which packages register connectors."""
FOLDER: Final = Path(__file__).parent.parent
"""Each of its modules is a built-in connector, and so is each of its folders that has a module `actions`."""
FILE: Final = FOLDER / "descriptions.json"


class _Descriptions(Mapping[str, Description]):
    """By the actions' names. A connector is loaded when it is asked for and not in the file."""

    def __getitem__(self, name: str) -> Description:
        connector = name.partition(".")[0]
        if connector in _written():
            return _written_actions()[name]
        if connector in _sources() or (_has_plugins() and name in _loaded()):
            return _loaded()[name]
        if pinned_names(connector):
            found: Description | None = import_module("connectors.openapi.described").describe_pinned(name)
            if found is not None:
                return found
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        known = self._all()
        return iter(sorted([*known, *(name for name in pinned_names() if name not in known)]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._has(name)

    def _has(self, name: str) -> bool:
        connector = name.partition(".")[0]
        return name in self._all() or (connector not in _sources() and name in pinned_names(connector))

    def _all(self) -> Mapping[str, Description]:
        return _written_actions() if _is_complete() else _loaded()


DESCRIPTIONS: Final[Mapping[str, Description]] = _Descriptions()
"""Asking for what is not in the file raises as `connectors.kit.registry.registry`."""


def pinned_names(connector: str | None = None) -> Collection[str]:
    """The actions of the project's OpenAPI documents, or of the one that this connector is.

    Raises:
        ConfigurationError: a document can't be used.
    """
    found: Collection[str] = import_module("connectors.openapi.project").action_names(connector)
    return found


def module_of(connector: str) -> str:
    """The module that has a built-in connector's actions."""
    return f"connectors.{connector}.actions" if (FOLDER / connector).is_dir() else f"connectors.{connector}"


@cache
def schemes() -> Mapping[str, Scheme]:
    """The webhook presets of connectors by name."""
    if not _is_complete():
        found: Mapping[str, Scheme] = import_module("connectors.kit.registry").schemes()
        return found
    return {one["name"]: Scheme.model_validate(one) for known in _written().values() for one in known["schemes"]}


def file_text() -> str:
    """What the file should be."""
    known = {}
    for name, source in _sources().items():
        kept = vars(import_module(module_of(name))).values()
        descriptions = [one.described for one in kept if isinstance(getattr(one, "described", None), Description)]
        presets = [one for one in kept if isinstance(one, Scheme)]
        known[name] = {
            "source": source,
            "actions": [one.as_data() for one in descriptions],
            "schemes": [one.model_dump(mode="json", exclude_defaults=True) for one in presets],
        }
    return json.dumps(known, indent=1, ensure_ascii=False) + "\n"


@cache
def _written() -> Mapping[str, Any]:
    """The connectors that the file has as they are."""
    try:
        known = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: known[name] for name, source in _sources().items() if known.get(name, {}).get("source") == source}


@cache
def _written_actions() -> Mapping[str, Description]:
    found = [Description(**action) for data in _written().values() for action in data["actions"]]
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


@cache
def _loaded() -> Mapping[str, Description]:
    actions = import_module("connectors.kit.registry").load_connectors()
    return {name: action.described for name, action in actions.items()}


@cache
def _has_plugins() -> bool:
    return bool(entry_points(group=GROUP))


def _is_complete() -> bool:
    return not _has_plugins() and len(_written()) == len(_sources())


@cache
def _sources() -> Mapping[str, str]:
    """The built-in connectors, each with the hash of its source."""
    modules = {path.stem: path for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    modules |= {path.parent.name: path for path in FOLDER.glob("*/actions.py")}
    return {name: hashlib.sha256(modules[name].read_bytes()).hexdigest()[:16] for name in sorted(modules)}
