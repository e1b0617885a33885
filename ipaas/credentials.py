"""What is known of credentials: as they are stored, their tokens, which workflows use them, and which are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel

from blocks import (
    BLOCK_TYPES,
    Keyring,
    StoredCredential,
    TokenCredential,
    TokenState,
    credential_type,
    list_credentials,
    load_credential,
)
from blocks.documents import Connect
from connectors.kit.descriptions import DESCRIPTIONS
from connectors.kit.registry import load_connectors
from flows.history import HistoryStore, WorkflowVersion
from flows.language.credentials import CredentialUse, credentials_of
from flows.language.definition import Declaration
from foundation.clock import Clock
from foundation.errors import CredentialError, DefinitionError


class TokenView(BaseModel):
    """The tokens of a credential that gets its own."""

    state: Literal["good", "over", "none", "failing", "lost"]
    """`over`: it is renewed when it is used next. `failing`: renewing it failed and is tried again. `lost`: a person
    must connect it again."""
    expires_at: datetime | None
    connected_at: datetime | None
    connected_by: str | None
    failure: str | None


class CredentialView(BaseModel):
    """What may be shown of a credential."""

    name: str
    type: str
    created: datetime | None
    updated: datetime | None
    key_ids: list[str]
    unsealed: list[str]
    fields: dict[str, Any]
    """What is not secret, as it is; of a secret field whether it is set, of a list of secrets how many there are."""
    secret: list[str]
    """The names of the secret fields."""
    used_by: list[str]
    """The published workflows that name it."""
    tokens: TokenView | None = None


class CredentialList(BaseModel):
    items: list[CredentialView]


@dataclass(frozen=True)
class CredentialUser:
    """A workflow that names a credential."""

    workflow: str
    file: str
    use: CredentialUse

    def lacks(self, what: str) -> DefinitionError:
        """What is wrong with the credential that it names, with its place."""
        return DefinitionError(f"credential {self.use.name!r} {what}", file=self.file, line=self.use.line)


async def credential_views(store: HistoryStore | None, connect: Connect, clock: Clock) -> list[CredentialView]:
    """Every credential, by name.

    Args:
        store: None: nobody knows who uses them, and what tokens they have.

    Raises:
        CredentialError: Prefect did not answer.
        StorageUnavailable
    """
    load_connectors()
    stored = await list_credentials(connect=connect)
    tokens = {(state.credential, state.type): state for state in (await store.tokens() if store else ())}
    users = used_by(workflow.current for workflow in (await store.workflows() if store else ()))
    return [_view(one, users, tokens.get((one.name, one.type)), clock.now()) for one in stored]


async def reseal_tokens(store: HistoryStore, keyring: Keyring, connect: Connect) -> int:
    """Seals the tokens that are not under the newest key anew; how many changed.

    Tokens of a credential that is gone, or set to something else, open for nobody: they are left.

    Raises:
        CredentialError: Prefect did not answer.
        StorageUnavailable
    """
    load_connectors()
    changed = 0
    for state in await store.tokens():
        kind = BLOCK_TYPES.get(state.type)
        if state.sealed is None or kind is None or not issubclass(kind, TokenCredential):
            continue
        try:
            credential = await load_credential(state.credential, kind, keyring=keyring, connect=connect)
            after = keyring.reseal(state.sealed, credential.token_place(state.credential))
        except CredentialError as error:
            if error.retriable:
                raise
            continue
        if after != state.sealed:
            changed += await store.reseal_token(state.credential, state.type, before=state.sealed, after=after)
    return changed


def used_by(versions: Iterable[WorkflowVersion]) -> dict[str, list[CredentialUser]]:
    """By credential, who uses it."""
    users: dict[str, list[CredentialUser]] = {}
    for version in versions:
        for use in _uses(version):
            users.setdefault(use.name, []).append(CredentialUser(version.workflow, version.file, use))
    return users


def missing(versions: Iterable[WorkflowVersion], there: Iterable[tuple[str, str]]) -> list[DefinitionError]:
    """What workflows name that is not there.

    Args:
        there: the names of credentials, each with its type.
    """
    types: dict[str, set[str]] = {}
    for name, slug in there:
        types.setdefault(name, set()).add(slug)
    found = []
    for name, users in sorted(used_by(versions).items()):
        for user in users:
            wanted, has = user.use.types, types.get(name, set())
            of_type = f"of type {' or '.join(wanted)}" if wanted else ""
            if not has:
                create = f"`ipaas credentials set {name} --type {wanted[0] if wanted else 'TYPE'}`"
                words = filter(None, (of_type, f"does not exist: create it with {create}"))
                found.append(user.lacks(" ".join(words)))
            elif wanted and not has & set(wanted):
                found.append(user.lacks(f"is of type {', '.join(sorted(has))}, and one {of_type} is needed"))
    return found


async def missing_here(versions: Iterable[WorkflowVersion], connect: Connect) -> list[DefinitionError]:
    """What workflows name that is not in Prefect, which is asked only when they name any.

    Raises:
        CredentialError: Prefect did not answer.
    """
    known = list(versions)
    if not used_by(known):
        return []
    load_connectors()
    return missing(known, [(one.name, one.type) for one in await list_credentials(connect=connect)])


def _uses(version: WorkflowVersion) -> Sequence[CredentialUse]:
    try:
        declaration = Declaration.model_validate(version.declaration)
        return credentials_of(version.source, version.language, declaration, DESCRIPTIONS)
    except (DefinitionError, SyntaxError, ValueError):  # published by another version of ipaas
        return ()


def _view(
    one: StoredCredential, users: Mapping[str, Sequence[CredentialUser]], tokens: TokenState | None, now: datetime
) -> CredentialView:
    return CredentialView(
        name=one.name,
        type=one.type,
        created=one.created,
        updated=one.updated,
        key_ids=list(one.key_ids),
        unsealed=list(one.unsealed),
        fields=dict(one.fields),
        secret=credential_type(one.type).secret_fields(),
        used_by=sorted(
            {user.workflow for user in users.get(one.name, ()) if one.type in (user.use.types or (one.type,))}
        ),
        tokens=_tokens(tokens, now) if tokens else None,
    )


def _tokens(state: TokenState, now: datetime) -> TokenView:
    word: Literal["good", "over", "none", "failing", "lost"] = "none" if state.sealed is None else "good"
    if state.left is not None and state.left <= 0:
        word = "over"
    if state.failure:
        word = "lost" if state.is_lost else "failing"
    return TokenView(
        state=word,
        expires_at=now + timedelta(seconds=state.left) if state.left is not None else None,
        connected_at=state.connected_at,
        connected_by=state.connected_by,
        failure=state.failure.message if state.failure else None,
    )
