"""Where documents come from: a file, a URL, or a file in a Python package (`package:acme_api/openapi.json`).

What a document refers to in other files beside it is taken into it, so that what is kept is whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urldefrag, urljoin, urlsplit

from connectors.openapi.faults import DocumentError
from connectors.openapi.pieces import pointer
from connectors.openapi.reading import MAX_BYTES, read_data, read_document

if TYPE_CHECKING:
    import httpx

Json = Any

PACKAGE: Final = "package:"
MAX_FILES: Final = 200
"""Other files that one document may be made of."""
FETCH_SECONDS: Final = 60.0
_HASH: Final = "sha256="


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def read_source(source: str, folder: Path) -> bytes:
    """The bytes of a document. A URL may end in `#sha256=…`: then what is there must be that.

    Args:
        folder: what a file's name is relative to.

    Raises:
        DocumentError: it can't be read; the message names the source.
    """
    plain, _, fragment = source.partition("#")
    try:
        content = _fetched(plain) if is_url(source) else _read_file(_file(source, folder), source)
    except OSError as error:
        raise DocumentError(f"{shown(source)}: {error.strerror or 'can not be read'}") from None
    if is_url(source) and fragment.startswith(_HASH) and hash_of(content) != fragment.removeprefix(_HASH):
        raise DocumentError(f"{shown(source)} is not what its sha256 says: it was changed")
    return content


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def whole_document(content: bytes, source: str, folder: Path) -> dict[str, Json]:
    """The document, with what it refers to in other files.

    Raises:
        DocumentError: as `read_document`; or another file is missing, or stands outside of the document's folder or
            host; the message names the reference.
    """
    document = read_document(content, shown(source))
    plain = source.partition("#")[0]
    if is_url(source):
        return _Bundle(plain, _beside_url(plain)).bundled(document)
    place = _file(source, folder)
    return _Bundle(place.name, _beside_file(place.parent)).bundled(document)


def _file(source: str, folder: Path) -> Path:
    if not source.startswith(PACKAGE):
        return folder / Path(source).expanduser()
    package, _, path = source.removeprefix(PACKAGE).partition("/")
    try:
        found = files(package)
    except (ImportError, ValueError, TypeError):
        raise DocumentError(f"{source}: there is no package {package!r}") from None
    place = Path(str(found.joinpath(path)))
    if ".." in Path(path).parts:
        raise DocumentError(f"{source}: leads out of the package")
    return place


def _read_file(file: Path, source: str) -> bytes:
    if not file.is_file():
        raise DocumentError(f"{shown(source)}: there is no such file")
    if file.stat().st_size > MAX_BYTES:
        raise DocumentError(f"{shown(source)}: larger than {MAX_BYTES // 1024 // 1024} MiB")
    return file.read_bytes()


def _fetched(url: str) -> bytes:
    """In a thread with a loop of its own: whoever asks may have a loop that runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(_fetch(url))).result()


async def _fetch(url: str) -> bytes:
    import httpx  # which takes its time to load, and most documents are files

    from connectors.kit.http_client import new_client

    place = shown(url)
    try:
        async with asyncio.timeout(FETCH_SECONDS), new_client() as client:
            return await _followed(client, url)
    except TimeoutError:
        raise DocumentError(f"{place} did not come within {FETCH_SECONDS:g} s") from None
    except httpx.HTTPError as error:
        raise DocumentError(f"{place} could not be fetched: {type(error).__name__}") from None
    except httpx.InvalidURL as error:
        raise DocumentError(f"{place}: {error}") from None


async def _followed(client: httpx.AsyncClient, url: str) -> bytes:
    from connectors.kit.egress import MAY_BE_PRIVATE

    request = client.build_request("GET", url)
    request.extensions[MAY_BE_PRIVATE] = True  # whoever wrote the address may mean one inside
    for _ in range(5):
        response = await client.send(request, stream=True)
        try:
            if response.next_request is None:
                if response.status_code >= 400:
                    raise DocumentError(f"{shown(url)} answered {response.status_code}")
                parts, size = [], 0
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size > MAX_BYTES:
                        raise DocumentError(f"{shown(url)}: larger than {MAX_BYTES // 1024 // 1024} MiB")
                    parts.append(part)
                return b"".join(parts)
        finally:
            await response.aclose()
        request = response.next_request
        request.extensions[MAY_BE_PRIVATE] = False
    raise DocumentError(f"{shown(url)} redirects too often")


def _beside_file(folder: Path) -> Callable[[str, str], tuple[str, bytes]]:
    root = folder.resolve()

    def read(base: str, reference: str) -> tuple[str, bytes]:
        place = (root / Path(base).parent / reference).resolve()
        if not place.is_relative_to(root):
            raise DocumentError(f"{reference[:120]!r} stands outside of the document's folder")
        name = str(place.relative_to(root))
        return name, _read_file(place, name)

    return read


def _beside_url(document: str) -> Callable[[str, str], tuple[str, bytes]]:
    host = urlsplit(document)[:2]

    def read(base: str, reference: str) -> tuple[str, bytes]:
        url = urljoin(base, reference)
        if urlsplit(url)[:2] != host:
            raise DocumentError(f"{reference[:120]!r} stands on another host than the document")
        return url, _fetched(url)

    return read


class _Bundle:
    """Takes other files into `components.x-files`, each once, and lets references lead there."""

    def __init__(self, name: str, read: Callable[[str, str], tuple[str, bytes]]) -> None:
        self._name, self._read = name, read
        self._files: dict[str, Json] = {}

    def bundled(self, document: dict[str, Json]) -> dict[str, Json]:
        made = self._moved(document, self._name, "")
        if not self._files:
            return document
        components = made.get("components") or {}
        return {**made, "components": {**components, "x-files": self._files}}

    def _moved(self, value: Json, base: str, own: str) -> Json:
        """A part of the file `base`, which stands at the pointer `own` now."""
        if isinstance(value, list):
            return [self._moved(one, base, own) for one in value]
        if not isinstance(value, Mapping):
            return value
        moved = {key: self._moved(one, base, own) for key, one in value.items() if key != "$ref"}
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return moved if reference is None else moved | {"$ref": self._moved(reference, base, own)}
        return moved | {"$ref": self._led(reference, base, own)}

    def _led(self, reference: str, base: str, own: str) -> str:
        path, fragment = urldefrag(reference)
        if not path:
            return f"#{own}{fragment}" if own and fragment.startswith("/") else reference
        name, content = self._read(base, path)
        if name == self._name:
            return f"#{fragment}"
        place = pointer("components", "x-files", name)
        if name not in self._files:
            if len(self._files) >= MAX_FILES:
                raise DocumentError(f"{self._name} is made of more than {MAX_FILES} files")
            self._files[name] = {}  # so that files that refer to each other end
            try:
                data = read_data(content)
            except DocumentError as error:
                raise DocumentError(f"{name[:120]}: {error}") from None
            self._files[name] = self._moved(data, name, place)
        return f"#{place}{fragment}"


def shown(source: str) -> str:
    """Without what may be secret in an address."""
    if not is_url(source):
        return source
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def as_text(document: Mapping[str, Json]) -> bytes:
    """The document as the project keeps it."""
    return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass") + b"\n"
