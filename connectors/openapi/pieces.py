"""A document cut into pieces, so that a process reads only what it uses: each operation and each component by itself.

The pieces stand in one file, behind an index: the first line is the index as JSON, the rest are the pieces. It is made
once for each document and kept by the document's hash, in the folder `cache/openapi` of the home.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from connectors.openapi.faults import DocumentError
from connectors.openapi.reading import read_document

Json = Any

FORMAT: Final = 1
"""Changes with what the file holds: older ones are made anew."""
METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
MIN_BYTES: Final = 64 * 1024
"""A smaller document is cut each time: that takes no longer than to open what was kept."""
_MAX_KEPT: Final = 256
_log = logging.getLogger("ipaas.openapi")


class Pieces:
    """
    Attributes:
        root: the document without its paths and components.
        operations: what is known of each operation without its piece: `id`, `method`, `path`, `summary`, `deprecated`.
    """

    def __init__(self, index: Mapping[str, Json], content: bytes | mmap.mmap, start: int) -> None:
        self.root: Mapping[str, Json] = index["root"]
        self.operations: list[dict[str, Json]] = index["operations"]
        self._places: Mapping[str, list[int]] = index["places"]
        self._content, self._start = content, start
        self._kept: dict[str, Json] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, key: str) -> Json:
        """The piece at this JSON pointer, as `/components/schemas/Issue`. Raises KeyError."""
        if key not in self._kept:
            begin, length = self._places[key]
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = json.loads(self._content[self._start + begin : self._start + begin + length])
        return self._kept[key]


def pointer(*parts: str) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)


def cut(document: Mapping[str, Json]) -> Pieces:
    """The pieces of a document, in memory."""
    content = b"".join(_lines(document))
    index, _, _ = content.partition(b"\n")
    return Pieces(json.loads(index), content, len(index) + 1)


def open_pieces(content: bytes, name: str, folder: Path | None) -> Pieces:
    """The pieces of the document with this text; from the folder, if it was cut before.

    Args:
        name: what errors call the document.
        folder: where they are kept; None: nowhere.

    Raises:
        DocumentError: as `read_document`.
    """
    kept = folder / kept_name(hashlib.sha256(content).hexdigest()) if folder and len(content) >= MIN_BYTES else None
    if kept and (found := kept_pieces(kept)):
        return found
    pieces = cut(read_document(content, name))
    if kept is None:
        return pieces
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            file.write(pieces._content)
        os.replace(file.name, kept)
    except OSError as error:  # a disk that is full or read-only costs time, nothing else
        _log.warning("the document can't be kept in %s: %s", kept.parent, error.strerror)
        return pieces
    return kept_pieces(kept) or pieces


def kept_name(sha256: str) -> str:
    """The file of the document with this hash."""
    return f"{sha256}-{FORMAT}"


def kept_pieces(file: Path) -> Pieces | None:
    """What such a file holds; None if there is none, or it is not whole."""
    try:
        with file.open("rb") as opened:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # ValueError: it is empty
        return None
    start = content.find(b"\n") + 1
    try:
        index = json.loads(content[:start])
        if start + index["length"] == len(content):
            return Pieces(index, content, start)
    except (ValueError, KeyError, TypeError):
        _log.warning("%s is damaged, and made anew", file)
    return None


def _lines(document: Mapping[str, Json]) -> Iterator[bytes]:
    places: dict[str, list[int]] = {}
    pieces: list[bytes] = []
    operations = []
    end = 0

    def add(key: str, value: Json) -> None:
        nonlocal end
        piece = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        places[key] = [end, len(piece)]
        pieces.append(piece)
        end += len(piece)

    for path, item in (document.get("paths") or {}).items():
        if not isinstance(item, Mapping):
            raise DocumentError(f"paths.{path}: a path is a mapping")
        add(pointer("paths", path), {key: value for key, value in item.items() if key not in METHODS})
        for method in METHODS:
            if method not in item:
                continue
            if not isinstance(item[method], Mapping):
                raise DocumentError(f"paths.{path}.{method}: an operation is a mapping")
            add(pointer("paths", path, method), item[method])
            operations.append(_listed(item[method], method, path))
    for kind, named in (document.get("components") or {}).items():
        for name, value in named.items() if isinstance(named, Mapping) else ():
            add(pointer("components", kind, name), value)
    left_out = ("paths", "components", "tags", "x-webhooks", "webhooks")
    root = {key: value for key, value in document.items() if key not in left_out}
    index = {"length": end, "root": root, "operations": operations, "places": places}
    yield json.dumps(index, separators=(",", ":")).encode() + b"\n"
    yield from pieces


def _listed(operation: Mapping[str, Json], method: str, path: str) -> dict[str, Json]:
    said = str(operation.get("summary") or operation.get("description") or "").strip().partition("\n")[0]
    given = operation.get("operationId")
    return {
        "id": given if isinstance(given, str) and given.strip() else None,
        "method": method,
        "path": path,
        "summary": said[:120],
        "deprecated": operation.get("deprecated") is True,
    }
