"""`vault:MOUNT/PATH#FIELD`: HashiCorp Vault and OpenBao, the KV secrets engine, version 2.

https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 and …/api-docs/auth/approle
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from connectors.kit.secrets.store import Surroundings, ask, one_field
from foundation.errors import ConfigurationError, CredentialError


class Vault:
    """Proves itself with a token, or logs in by AppRole, again before that is over and when it is refused.

    Raises:
        ConfigurationError: neither is set.
    """

    def __init__(self, around: Surroundings) -> None:
        self._settings, self._http, self._clock = around.settings.vault, around.http, around.clock
        if not self._settings.url or not (self._settings.token or self._settings.role_id):
            raise ConfigurationError("for vault: set IPAAS_VAULT__URL, and IPAAS_VAULT__TOKEN or IPAAS_VAULT__ROLE_ID")
        self._url = self._settings.url.rstrip("/")
        self._token: str | None = None
        self._until: datetime | None = None
        self._logging_in = asyncio.Lock()

    async def read(self, where: str) -> str:
        path, _, field = where.partition("#")
        mount, _, name = path.strip("/").partition("/")
        if not (mount and name and field):
            raise CredentialError(f"vault:{where}: write it as vault:MOUNT/PATH#FIELD")
        address = f"/v1/{quote(mount)}/data/{quote(name)}"
        status, body = await self._ask("GET", address, await self._proof())
        if status == 403 and self._settings.role_id:
            self._until = None
            status, body = await self._ask("GET", address, await self._proof())
        if status == 404:
            raise CredentialError(f"Vault has nothing at {mount}/{name}")
        if status != 200:
            raise CredentialError(f"Vault answered {status} for {mount}/{name}{_said(body)}")
        try:
            return one_field(body["data"]["data"], field, f"{mount}/{name} in Vault")
        except (KeyError, TypeError):
            raise CredentialError(f"Vault answered in an unknown form: is {mount} a KV engine of version 2?") from None

    async def _proof(self) -> str:
        if self._settings.token:
            return self._settings.token.get_secret_value()
        async with self._logging_in:
            if self._token is None or self._until is None or self._clock.now() >= self._until:
                await self._log_in()
        return self._token or ""

    async def _log_in(self) -> None:
        secret = self._settings.secret_id
        ids = {"role_id": self._settings.role_id, "secret_id": secret.get_secret_value() if secret else ""}
        status, body = await self._ask("POST", "/v1/auth/approle/login", None, ids)
        try:
            token, seconds = str(body["auth"]["client_token"]), float(body["auth"]["lease_duration"])
        except (KeyError, TypeError, ValueError):
            raise CredentialError(f"Vault refused the AppRole ({status}){_said(body)}") from None
        self._token = token
        self._until = self._clock.now() + timedelta(seconds=seconds * 0.9 if seconds else 86_400)

    async def _ask(self, method: str, path: str, token: str | None, body: Any = None) -> tuple[int, Any]:
        given = {"X-Vault-Token": token, "X-Vault-Namespace": self._settings.namespace, "X-Vault-Request": "true"}
        headers = {name: value for name, value in given.items() if value}
        content = json.dumps(body).encode() if body is not None else None
        return await ask(self._http, method, f"{self._url}{path}", headers=headers, content=content)


def _said(body: Any) -> str:
    errors = body.get("errors") if isinstance(body, dict) else None
    return f": {'; '.join(map(str, errors)).strip()}" if errors else ""
