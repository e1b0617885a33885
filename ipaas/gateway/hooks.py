"""Which webhook a path means: the routes of every published workflow, kept current."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from blocks import Credential, credential_type
from connectors.kit.call import CredentialSource
from connectors.webhooks import (
    Scheme,
    accepted_secrets,
    build_scheme,
    credential_types,
    handshake_methods,
    secret_headers,
)
from flows.engine.flow_keys import CompiledKeys, compile_keys
from flows.expressions import Expression
from flows.history import Accepted, HistoryStore, Workflow
from flows.language.definition import Declaration, Respond, Webhook
from flows.language.input_schema import InputSchema
from flows.language.workflow import compile_dedupe, compile_when
from foundation.errors import CredentialError, IpaasError

logger = logging.getLogger("ipaas.gateway")

LOOK_AGAIN_SECONDS = 0.2
"""How old the table may be when someone asks for a path that is not in it."""
REFRESH_SECONDS = 1.0
"""A deploy takes effect within this."""
MOST_OLDER = 200
"""Versions that are not current, of which it is remembered how they answer."""
NEVER_STORED = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True)
class Hook:
    """One webhook trigger, with all that a delivery to it needs, worked out once per version."""

    workflow: str
    version: str
    active: bool
    webhook: Webhook
    scheme: Scheme | None
    """None: `auth: none`."""
    greets_with: frozenset[str]
    """Methods that the scheme's handshake uses, whatever the workflow's methods are."""
    hidden_headers: frozenset[str]
    """Not stored with an event: what proves the sender."""
    dedupe: Expression | None
    when: Expression | None
    schema: InputSchema | None
    respond: Respond
    keys: CompiledKeys

    @property
    def path(self) -> str:
        return self.webhook.path or self.workflow

    async def secrets(self, credentials: CredentialSource) -> list[str]:
        """The secrets accepted now, the current one first.

        Raises:
            CredentialError: the credential is missing, of a type that does not fit the scheme, or can't be opened.
        """
        assert self.webhook.auth  # noqa: S101 - only asked for verified hooks
        assert self.scheme  # noqa: S101
        faults: list[str] = []
        for slug in credential_types(self.scheme):
            kind: type[Credential] = credential_type(slug)
            try:
                credential = await credentials.get(self.webhook.auth.credential, kind)
            except CredentialError as error:
                if error.retriable:
                    raise
                faults.append(str(error))
            else:
                return list(accepted_secrets(credential))
        raise CredentialError("; ".join(faults))


class Hooks:
    """The table of paths, read from the history again and again."""

    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self._by_path: Mapping[str, Hook] = {}
        self._built: dict[tuple[str, str, bool], list[Hook]] = {}
        self._older: Mapping[tuple[str, str], Respond] = {}
        self._said: set[str] = set()
        self._read_at = float("-inf")

    async def find(self, path: str) -> Hook | None:
        """The webhook at a path.

        One that is not known may have been deployed a moment ago: then the table is read anew, though not for everybody
        who asks for what is not there.

        Raises:
            StorageUnavailable: whether it is there can't be known.
        """
        hook = self._by_path.get(path)
        if hook is None and time.monotonic() - self._read_at >= LOOK_AGAIN_SECONDS:
            await self.refresh()
            hook = self._by_path.get(path)
        return hook

    async def respond_of(self, hook: Hook, accepted: Accepted) -> Respond:
        """What the version that an execution is pinned to says of its answer: a duplicate's may be an older one.

        Raises:
            StorageUnavailable: it can't be known.
        """
        version = await self._store.version_of(accepted.execution_id) if accepted.duplicate else None
        if version is None or version == hook.version:
            return hook.respond
        key = (hook.workflow, version)
        if key not in self._older:
            published = await self._store.version(*key)
            known = published and Declaration.model_validate(published.declaration).respond
            self._older = dict([*self._older.items(), (key, known or hook.respond)][-MOST_OLDER:])
        return self._older[key]

    async def run(self) -> None:
        """Keeps the table current until cancelled; while the history is away, the last one holds."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except IpaasError as error:
                logger.warning("could not read the workflows: %s", error)

    async def refresh(self) -> None:
        self._read_at = time.monotonic()
        table: dict[str, Hook] = {}
        built: dict[tuple[str, str, bool], list[Hook]] = {}
        # Those that are active first: a path goes over from a workflow that was deactivated to the one that has it now.
        for workflow in sorted(await self._store.workflows(), key=lambda one: not one.active):
            key = (workflow.name, workflow.current.version, workflow.active)
            built[key] = self._built[key] if key in self._built else self._build(workflow)
            for hook in built[key]:
                if hook.path in table:
                    self._say(f"path {hook.path} of {hook.workflow} is taken by {table[hook.path].workflow}")
                table.setdefault(hook.path, hook)
        self._by_path, self._built = table, built

    def _build(self, workflow: Workflow) -> list[Hook]:
        try:
            declaration = Declaration.model_validate(workflow.current.declaration)
            triggers = [trigger for trigger in declaration.triggers if isinstance(trigger, Webhook)]
            return [_hook(workflow, declaration, trigger) for trigger in triggers]
        except (IpaasError, ValidationError) as error:
            self._say(f"workflow {workflow.name}: its webhooks can't be opened: {error}")
            return []

    def _say(self, warning: str) -> None:
        if warning not in self._said:
            self._said.add(warning)
            logger.error("%s", warning)


def _hook(workflow: Workflow, declaration: Declaration, webhook: Webhook) -> Hook:
    scheme = build_scheme(webhook.auth.scheme, webhook.auth.options) if webhook.auth else None
    return Hook(
        workflow=workflow.name,
        version=workflow.current.version,
        active=workflow.active,
        webhook=webhook,
        scheme=scheme,
        greets_with=handshake_methods(scheme) if scheme else frozenset(),
        hidden_headers=NEVER_STORED | (secret_headers(scheme) if scheme else frozenset()),
        dedupe=compile_dedupe(webhook),
        when=compile_when(webhook),
        schema=InputSchema(declaration.input) if declaration.input is not None else None,
        respond=declaration.respond,
        keys=compile_keys(declaration),
    )
