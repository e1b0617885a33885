"""A credential's block document as Prefect's API takes and gives it: its `data`, sealed, sealed anew, shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from blocks.credential import BLOCK_TYPES
from blocks.keyring import Keyring
from blocks.sealed_text import Place, is_placeholder, is_sealed, key_id_of


def seal_document_data(slug: str, data: Mapping[str, Any], keyring: Keyring, *, document: str) -> dict[str, Any]:
    """All the `data` of the document of that name, with the secrets of a credential type sealed for it.

    What is sealed already stays as it is, and so does a placeholder (`********`), which Prefect's server takes for
    "unchanged"; in a list, where it would not, a placeholder is left out. Data of any other block type stays as it is.
    """
    if slug not in BLOCK_TYPES:
        return dict(data)
    return _with_secrets(
        slug, data, document, lambda text, place: text if is_sealed(text) else keyring.seal(text, place)
    )


def reseal_document_data(slug: str, data: Mapping[str, Any], keyring: Keyring, *, document: str) -> dict[str, Any]:
    """The same, and what an older key or in an older form sealed is sealed anew.

    Raises:
        CredentialError: something sealed can't be opened.
    """

    def resealed(text: str, place: Place) -> str:
        return keyring.reseal(text, place) if is_sealed(text) else keyring.seal(text, place)

    return _with_secrets(slug, data, document, resealed)


def unsealed_fields(slug: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that hold plaintext."""
    sealable = seal_document_data(slug, data, Keyring.generate(), document="")
    return tuple(field for field in BLOCK_TYPES[slug].secret_fields() if sealable.get(field) != data.get(field))


def key_ids(slug: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that the secrets are sealed with, sorted."""
    return tuple(sorted({key_id for _, text in secret_texts(slug, data) if (key_id := key_id_of(text))}))


def shown_fields(slug: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What is not secret, as it is; of a secret field whether it is set, of a list of secrets how many there are."""
    kind = BLOCK_TYPES[slug]
    secret = set(kind.secret_fields())
    values = {field: data.get(field) for field in kind.model_fields}
    return {
        field: (len(value) if isinstance(value, list) else bool(value)) if field in secret else value
        for field, value in values.items()
    }


def secret_texts(slug: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each secret that is set, sealed or not, with its field; of a list each item."""
    for field in BLOCK_TYPES[slug].secret_fields():
        value = data.get(field)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text:
                yield field, text


def _with_secrets(
    slug: str, data: Mapping[str, Any], document: str, change: Callable[[str, Place], str]
) -> dict[str, Any]:
    """The data with each secret that is set changed, which is told its place; an empty one in a list is left out."""
    kind, result = BLOCK_TYPES[slug], dict(data)
    bound = kind.bound_values(data)
    for field in kind.secret_fields():
        value = data.get(field)
        if value is None or is_placeholder(value):
            continue
        place = Place(slug, field, document, bound)

        def changed(value: Any, place: Place = place) -> str:
            text = value if isinstance(value, str) else json.dumps(value)
            return change(text, place) if text else text

        if kind.model_fields[field].annotation == list[SecretStr]:
            items = value if isinstance(value, list) else [value]
            result[field] = [changed(item) for item in items if item and not is_placeholder(item)]
        else:
            result[field] = changed(value)
    return result
