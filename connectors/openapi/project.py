"""The documents of a project, each pinned by its hash: `apis/github.toml` beside `apis/github.json`.

A pinned document is a connector: its operations are the actions `github.OPERATION`.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.openapi.document import Document
from connectors.openapi.faults import DocumentError
from connectors.openapi.pieces import kept_name, kept_pieces, open_pieces
from connectors.openapi.sources import hash_of, is_url, read_source, shown
from foundation.settings import Settings

Json = Any

FOLDER: Final = "apis"
NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class Pin(BaseModel):
    """What `apis/NAME.toml` says.

    Attributes:
        document: the file beside it.
        sha256: the hash of that file.
        source: where it came from.
        include: the operations that were taken; empty: all.
        server: the address to use instead of the document's first server.
        variables: values of the server's variables.
        check: whether calls are held against the document's schemas.
        pagination: how lists go on, for calls with `paginate: true`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: str
    sha256: str
    source: str = ""
    include: tuple[str, ...] = ()
    server: str = ""
    variables: dict[str, str] = Field(default={})
    check: bool = True
    pagination: dict[str, Json] | None = None

    def text(self) -> str:
        """The file's text."""
        lines = ["# An OpenAPI document as a connector: `ipaas connectors add` writes it."]
        lines += [f"{key} = {_toml(value)}" for key, value in self if value not in ("", (), {}, True, None)]
        return "\n".join(lines) + "\n"


def settings() -> Settings:
    return _settings(os.getcwd(), os.environ.get("IPAAS_HOME"), os.environ.get("IPAAS_PROJECT"))


def folder() -> Path:
    """Where pinned documents are kept."""
    return settings().project / FOLDER


def pinned() -> Sequence[str]:
    """The connectors that are pinned documents, sorted."""
    return sorted(file.stem for file in folder().glob("*.toml") if NAME.fullmatch(file.stem))


def action_names(connector: str | None = None) -> Collection[str]:
    """`CONNECTOR.OPERATION` of every pinned document, or of this one; none if it is not pinned.

    Raises:
        DocumentError: a document can't be used.
    """
    if connector is not None:
        return _action_names(connector, pinned_document(connector)) if is_pinned(connector) else ()
    return [name for one in pinned() for name in _action_names(one, pinned_document(one))]


@lru_cache(maxsize=32)
def _action_names(connector: str, document: Document) -> Collection[str]:
    return {f"{connector}.{name}": None for name in document.operations}.keys()


def is_pinned(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and (folder() / f"{name}.toml").is_file()


def read_pin(name: str) -> Pin:
    """Raises DocumentError, which names the file and what is wrong in it."""
    file = folder() / f"{name}.toml"
    return _read_pin(file, _state(file))


def pinned_document(name: str) -> Document:
    """The document of a pinned connector, opened once.

    Raises:
        DocumentError: it is not there, is not what was pinned, or can't be read.
    """
    pin = read_pin(name)
    file = folder() / pin.document
    return _pinned(file, _state(file), pin.sha256, name, pin.source)


def open_document(source: str) -> Document:
    """The document that `spec` names: a pinned connector, a file of the project, `package:…` or a URL.

    What a URL gives is used as long as the process lives.

    Raises:
        DocumentError: it can't be read.
    """
    if is_pinned(source):
        return pinned_document(source)
    if is_url(source):
        return _opened(source, settings().project, None)
    place = settings().project / source
    return _opened(source, settings().project, _state(place) if place.is_file() else None)


def cache_folder() -> Path:
    return settings().home / "cache" / "openapi"


@lru_cache(maxsize=8)
def _settings(*place: str | None) -> Settings:
    return Settings()


@lru_cache(maxsize=32)
def _pinned(file: Path, state: tuple[int, int] | None, sha256: str, name: str, source: str) -> Document:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DocumentError(f"{FOLDER}/{file.name}, the document of {name}: {error.strerror}") from None
    if hash_of(content) != sha256:
        raise DocumentError(
            f"{FOLDER}/{file.name} is not the document that was pinned: `ipaas connectors add {name}` pins it anew"
        )
    return Document(open_pieces(content, f"{FOLDER}/{file.name}", cache_folder()), name, source)


@lru_cache(maxsize=32)
def _opened(source: str, project: Path, state: tuple[int, int] | None) -> Document:
    hashed = source.partition("#sha256=")[2]
    is_hash = re.fullmatch(r"[0-9a-f]{64}", hashed)
    if is_url(source) and is_hash and (kept := kept_pieces(cache_folder() / kept_name(hashed))):
        return Document(kept, shown(source), source)
    content = read_source(source, project)
    return Document(open_pieces(content, shown(source), cache_folder()), shown(source), source)


@lru_cache(maxsize=32)
def _read_pin(file: Path, state: tuple[int, int] | None) -> Pin:
    place = f"{FOLDER}/{file.name}"
    try:
        pin = Pin.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise DocumentError(f"{place}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DocumentError(f"{place}: not TOML: {error}") from None
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise DocumentError(f"{place}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    if Path(pin.document).name != pin.document:
        raise DocumentError(f"{place}: document: must be a file beside it")
    return pin


def _state(file: Path) -> tuple[int, int] | None:
    """Changes when the file does."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _toml(value: Json) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
