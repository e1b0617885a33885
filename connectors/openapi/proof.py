"""What of a credential goes where in a request of an operation: `security.py` says which types fit."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from pydantic import Field, SecretStr

from blocks.credential import Credential
from blocks.credential_types import ApiKey, BasicAuth, BearerToken
from blocks.oauth2 import OAuth2
from blocks.service_accounts import GitHubApp, GoogleServiceAccount
from blocks.token_credential import TokenCredential
from connectors.openapi.operation import Operation
from connectors.openapi.security import scheme_of, token_url, types_of, ways_of
from foundation.errors import CredentialError

Json = Any


class ApiKeys(Credential):
    _block_type_slug = "api-keys"
    _block_type_name = "API Keys"
    _description = "Several keys that an API with an OpenAPI document wants at once."

    keys: list[SecretStr] = Field(
        description="One for each security scheme of the document, as SCHEME=KEY; for a basic one SCHEME=USER:PASSWORD."
    )

    def by_scheme(self) -> Mapping[str, str]:
        """The secrets by the names of their schemes.

        Raises:
            CredentialError: one has no name, or can't be opened.
        """
        found: dict[str, str] = {}
        for sealed in self.keys:
            name, _, secret = self._open("keys", sealed).partition("=")
            if not secret:
                raise CredentialError("each of its keys must be written as SCHEME=KEY")
            self._hide(secret)
            found[name.strip()] = secret
        return found

    def open_all(self) -> None:
        self.by_scheme()


TYPES: Final[Mapping[str, type[Credential]]] = {
    kind.get_block_type_slug(): kind
    for kind in (BearerToken, BasicAuth, ApiKey, ApiKeys, OAuth2, GoogleServiceAccount, GitHubApp)
}
"""Every type that a document's schemes can want."""


@dataclass(frozen=True)
class TokenRequest:
    """An access token that must be asked for first (RFC 6749, 4.4)."""

    url: str
    scope: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class Proven:
    """What is added to a request."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: TokenRequest | None = None


def prove(operation: Operation, credential: Credential) -> Proven:
    """What the credential adds to a request of the operation.

    Raises:
        CredentialError: it fits none of the ways to prove oneself, or can't be opened.
        DocumentError: the document lacks a scheme that it names.
    """
    ways = ways_of(operation)
    if ways is None:
        return _openly(credential)
    keys = credential.by_scheme() if isinstance(credential, ApiKeys) else None
    for way in ways:
        fits = credential.get_block_type_slug() in types_of(operation.document, way)
        if fits and (keys is None or keys.keys() >= set(way)):
            return _together([_of_scheme(operation, name, credential, keys) for name in way])
    wanted = " or ".join(" and ".join(way) for way in ways if way)
    raise CredentialError(f"{operation.name} wants {wanted}: the credential has nothing for it")


def _of_scheme(operation: Operation, name: str, credential: Credential, keys: Mapping[str, str] | None) -> Proven:
    scheme = scheme_of(operation.document, name)
    user = password = secret = ""
    match credential:
        case ApiKeys():
            secret = (keys or {})[name]
            user, _, password = secret.partition(":")
        case BasicAuth():
            user, password = credential.username, credential.reveal("password")
        case ApiKey():
            secret = credential.reveal("key")
        case _:
            secret = _token(credential)
    match scheme:
        case {"type": "apiKey", "in": "header", "name": header}:
            return Proven(headers={header: secret})
        case {"type": "apiKey", "in": "query", "name": parameter}:
            return Proven(query={parameter: secret})
        case {"type": "apiKey", "name": cookie}:
            return Proven(cookies={cookie: quote(secret, safe="!#$%&'()*+-./:<=>?@[]^_`{|}~")})
        case {"type": "http", "scheme": str(word)} if word.lower() == "basic":
            return Proven(headers={"Authorization": basic(user, password)})
    if isinstance(credential, BasicAuth):
        return Proven(token=TokenRequest(token_url(scheme) or "", _scope(operation, name), user, password))
    return Proven(headers={"Authorization": f"Bearer {secret}"})


def _scope(operation: Operation, name: str) -> str:
    said = operation.document.operation(operation.about).get("security", operation.document.root.get("security"))
    return " ".join(next((one[name] for one in said or () if one.get(name)), ()))


def _openly(credential: Credential) -> Proven:
    match credential:
        case BasicAuth():
            return Proven(headers={"Authorization": basic(credential.username, credential.reveal("password"))})
        case ApiKey():
            return Proven(headers={credential.header: credential.reveal("key")})
    return Proven(headers={"Authorization": f"Bearer {_token(credential)}"})


def _token(credential: Credential) -> str:
    return credential.access_token if isinstance(credential, TokenCredential) else credential.reveal("token")


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _together(parts: list[Proven]) -> Proven:
    return Proven(
        {name: value for one in parts for name, value in one.headers.items()},
        {name: value for one in parts for name, value in one.query.items()},
        {name: value for one in parts for name, value in one.cookies.items()},
        next((one.token for one in parts if one.token), None),
    )
