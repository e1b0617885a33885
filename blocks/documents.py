"""Credentials as documents in Prefect: load, save, list, delete, seal anew.

Everything here goes through Prefect's API and never sends or returns a secret in the clear: a document holds sealed
text, and what a person typed into a stock Prefect UI is sealed as soon as it is read.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound

from blocks.credential import BLOCK_TYPES, Credential
from blocks.document_data import key_ids, reseal_document_data, seal_document_data, shown_fields, unsealed_fields
from blocks.keyring import Keyring, default_keyring
from foundation.errors import CredentialError
from foundation.masking import Masker, process_masker

C = TypeVar("C", bound=Credential)
Connect = Callable[[], AbstractAsyncContextManager[PrefectClient]]

TIMEOUT: Final = 15.0
"""Seconds that Prefect's API has for one of these operations, its client's own retries included."""
PAGE: Final = 200
"""Documents a request; Prefect's own limit."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_log = logging.getLogger("ipaas.credentials")


@dataclass(frozen=True)
class StoredCredential:
    """What may be shown of a credential in Prefect."""

    name: str
    type: str
    created: datetime | None
    updated: datetime | None
    key_ids: tuple[str, ...]
    """The keys that its secrets are sealed with, sorted."""
    unsealed: tuple[str, ...]
    """The fields that hold plaintext: typed into a Prefect that does not seal, and not used since."""
    fields: Mapping[str, Any]
    """What is not secret, as it is; of a secret field whether it is set, of a list of secrets how many there are."""


@asynccontextmanager
async def prefect_client() -> AsyncIterator[PrefectClient]:
    """A client of the Prefect API that this process is set to, or that of the flow run it is in."""
    try:
        client = get_client()
    except ValueError as error:  # neither PREFECT_API_URL nor a server of its own
        raise CredentialError(str(error)) from None
    async with client:
        yield client


async def load_credential(
    name: str,
    kind: type[C],
    *,
    keyring: Keyring | None = None,
    masker: Masker = process_masker,
    connect: Connect = prefect_client,
) -> C:
    """The credential called `name`, opened. Plaintext found in its document is sealed and saved back.

    Raises:
        CredentialError: it does not exist, is of another type, or can't be opened; `retriable` when Prefect did not
            answer.
    """
    check_name(name)
    keyring = keyring or default_keyring()
    slug = kind.get_block_type_slug()
    async with _asking(connect) as client:
        try:
            document = await client.read_block_document_by_name(name, slug)
        except ObjectNotFound:
            raise await _missing(client, name, slug) from None
        data = seal_document_data(slug, document.data, keyring, document=name)
        if unsealed := unsealed_fields(slug, document.data):
            await _replace(client, document, data)
            _log.warning("credential %r (%s) held %s unsealed in Prefect: sealed it", name, slug, ", ".join(unsealed))
    values = {field: value for field, value in data.items() if field in kind.model_fields}
    try:
        credential = kind.from_values(values, document=name, keyring=keyring, masker=masker)
        credential.open_all()
    except CredentialError as error:
        raise CredentialError(f"credential {name!r}: {error}") from None
    return credential


async def save_credential(
    name: str,
    kind: type[Credential],
    values: Mapping[str, Any],
    *,
    keyring: Keyring | None = None,
    connect: Connect = prefect_client,
) -> None:
    """Creates the credential, or replaces all its values.

    Raises:
        CredentialError: the name or a value is not valid; `retriable` when Prefect did not answer.
    """
    check_name(name)
    credential = kind.from_values(values, keyring=keyring)
    async with _asking(connect) as client:
        await credential.asave(name, overwrite=True, client=client)


async def list_credentials(*, connect: Connect = prefect_client) -> list[StoredCredential]:
    """Every credential in Prefect, by name.

    Raises:
        CredentialError: Prefect did not answer.
    """
    async with _asking(connect) as client:
        return [
            StoredCredential(
                name=document.name or "",
                type=slug,
                created=document.created,
                updated=document.updated,
                key_ids=key_ids(slug, document.data),
                unsealed=unsealed_fields(slug, document.data),
                fields=shown_fields(slug, document.data),
            )
            for document, slug in await _documents(client)
        ]


async def delete_credential(
    name: str, kind: type[Credential] | None = None, *, connect: Connect = prefect_client
) -> None:
    """Deletes the credential; the type is needed only when several types have one of that name.

    Raises:
        CredentialError: there is none, or more than one; `retriable` when Prefect did not answer.
    """
    check_name(name)
    slugs = [kind.get_block_type_slug()] if kind else sorted(BLOCK_TYPES)
    async with _asking(connect) as client:
        found = await _documents(client, name=name, slugs=slugs)
        if not found:
            raise CredentialError(f"credential {name!r}{f' of type {slugs[0]}' if kind else ''} does not exist")
        if len(found) > 1:
            raise CredentialError(
                f"{name!r} names credentials of types {', '.join(slug for _, slug in found)}: say which type"
            )
        await client.delete_block_document(found[0][0].id)


async def reseal_all(keyring: Keyring | None = None, *, connect: Connect = prefect_client) -> int:
    """Seals every secret that is not under the newest key, or in an older form, anew; afterwards no older key is
    needed.

    Returns:
        How many credentials changed.

    Raises:
        CredentialError: some can't be opened (the others are done); `retriable` when Prefect did not answer.
    """
    ring = keyring or default_keyring()
    changed, failed = 0, []
    async with _asking(connect) as client:
        for document, slug in await _documents(client):
            try:
                data = reseal_document_data(slug, document.data, ring, document=document.name or "")
            except CredentialError as error:
                failed.append(f"credential {document.name!r}: {error}")
                continue
            if data != document.data:
                await _replace(client, document, data)
                changed += 1
    if failed:
        raise CredentialError(f"{changed} sealed anew, {len(failed)} not: {'; '.join(failed)}")
    return changed


def check_name(name: str) -> None:
    """Raises:
    CredentialError: Prefect would not take it as a document's name.
    """
    if not _NAME.fullmatch(name):
        raise CredentialError(
            f"{name!r} can't name a credential: use lowercase letters, digits and dashes, as in team-slack"
        )


@asynccontextmanager
async def _asking(connect: Connect) -> AsyncIterator[PrefectClient]:
    """A client whose failures say that it was Prefect that did not answer."""
    try:
        async with asyncio.timeout(TIMEOUT), connect() as client:
            yield client
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise CredentialError(
            f"Prefect answered {status} to {error.request.method} {error.request.url.path}{_reason(error.response)}",
            retriable=status >= 500 or status in (408, 429),
        ) from None
    except (httpx.TransportError, TimeoutError) as error:
        raise CredentialError(
            f"Prefect can't be reached for credentials ({type(error).__name__}): "
            "check PREFECT_API_URL and that its server runs",
            retriable=True,
        ) from error


def _reason(response: httpx.Response) -> str:
    try:
        return f": {response.json()['detail']}"
    except (ValueError, LookupError, TypeError):
        return ""


async def _documents(
    client: PrefectClient, *, name: str | None = None, slugs: list[str] | None = None
) -> list[tuple[BlockDocument, str]]:
    """Named documents of credential types, with their type's slug, by name."""
    found: list[tuple[BlockDocument, str]] = []
    wanted = {"is_anonymous": {"eq_": False}} | ({"name": {"any_": [name]}} if name else {})
    while True:
        answer = await client.request(
            "POST",
            "/block_documents/filter",
            json={
                "block_documents": wanted,
                "block_types": {"slug": {"any_": slugs or sorted(BLOCK_TYPES)}},
                "include_secrets": True,
                "offset": len(found),
                "limit": PAGE,
            },
        )
        page = BlockDocument.model_validate_list(answer.json())
        found += [(document, document.block_type.slug) for document in page if document.block_type]
        if len(page) < PAGE:
            return found


async def _missing(client: PrefectClient, name: str, slug: str) -> CredentialError:
    others = [other for _, other in await _documents(client, name=name)]
    if others:
        return CredentialError(f"credential {name!r} is of type {', '.join(others)}, and type {slug} is needed")
    return CredentialError(
        f"credential {name!r} of type {slug} does not exist: "
        f"create it with `ipaas credentials set {name} --type {slug}`"
    )


async def _replace(client: PrefectClient, document: BlockDocument, data: dict[str, Any]) -> None:
    """Sends only what changed: a value that someone sets meanwhile in another field stays."""
    changed = {field: value for field, value in data.items() if value != document.data.get(field)}
    await client.update_block_document(document.id, BlockDocumentUpdate(data=changed, merge_existing_data=True))
