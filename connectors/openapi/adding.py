"""Pins a document into the project, so that it is a connector: `ipaas connectors add`."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.openapi import project
from connectors.openapi.document import Document
from connectors.openapi.faults import DocumentError
from connectors.openapi.pieces import open_pieces
from connectors.openapi.project import FOLDER, NAME, Pin
from connectors.openapi.pruning import pruned
from connectors.openapi.sources import as_text, hash_of, is_url, read_source, shown, whole_document
from connectors.openapi.stubs import module_text, stub_text


@dataclass(frozen=True)
class Added:
    """What was pinned: the connector, how many operations it has, and the files that were written."""

    name: str
    operations: int
    sha256: str
    files: Sequence[Path]


def add(name: str, source: str, include: Sequence[str] = (), *, taken: Collection[str] = ()) -> Added:
    """Pins the document as the connector `name`; what the project says of an earlier one of that name is kept.

    Args:
        source: a file, `package:NAME/FILE` or a URL.
        include: patterns of the operations that are wanted (`issues/*`); empty: all.
        taken: the names of other connectors.

    Raises:
        DocumentError: the name can't be used, or the document.
    """
    if not NAME.fullmatch(name):
        raise DocumentError(f"{name!r}: a connector's name is made of lower-case letters, digits and _")
    if name in taken:
        raise DocumentError(f"there is a connector {name} already: choose another name")
    here = Path.cwd()
    content = read_source(source, here)
    document = whole_document(content, source, here)
    if include:
        document = pruned(document, include, shown(source))
    text = as_text(document)
    folder = project.folder()
    pin = (project.read_pin(name) if project.is_pinned(name) else Pin(document="", sha256="")).model_copy(
        update={
            "document": f"{name}.json",
            "sha256": hash_of(text),
            "source": shown(source) if is_url(source) or source.startswith("package:") else Path(source).name,
            "include": tuple(include),
        }
    )
    opened = Document(open_pieces(text, f"{FOLDER}/{pin.document}", project.cache_folder()), name, pin.source)
    if not opened.operations:
        raise DocumentError(f"{shown(source)} has no operations")
    files = {
        folder / pin.document: text,
        folder / f"{name}.py": module_text(name, opened).encode(),
        folder / f"{name}.pyi": stub_text(name, opened).encode("utf-8", "replace"),
        folder / f"{name}.toml": pin.text().encode(),  # the last: with it the rest counts
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, written in files.items():
        beside = file.with_name(f".{file.name}.new")
        beside.write_bytes(written)
        os.replace(beside, file)
    return Added(name, len(opened.operations), pin.sha256, list(files))
