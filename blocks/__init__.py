"""Credentials as Prefect blocks whose secrets are sealed, and the keyring that seals them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blocks.credential import BLOCK_TYPES, Credential, CredentialField, credential_type
    from blocks.credential_types import (
        ApiKey,
        BasicAuth,
        BearerToken,
        WebhookSecret,
    )
    from blocks.document_data import seal_document_data
    from blocks.documents import (
        StoredCredential,
        delete_credential,
        list_credentials,
        load_credential,
        reseal_all,
        save_credential,
    )
    from blocks.keyring import Keyring, add_key, default_keyring, use_keyring
    from blocks.oauth2 import OAuth2
    from blocks.service_accounts import GitHubApp, GoogleServiceAccount
    from blocks.source import MemoryCredentials, PrefectCredentials
    from blocks.token_credential import TokenCredential
    from blocks.token_state import MemoryTokens, TokenState, TokenStore

# Read by `__getattr__`, so that the settings can be read before Prefect is imported: Prefect takes its own settings
# from the environment when it is imported, and the command line sets them first.
_MODULES = {
    "ApiKey": "blocks.credential_types",
    "BLOCK_TYPES": "blocks.credential",
    "BasicAuth": "blocks.credential_types",
    "BearerToken": "blocks.credential_types",
    "Credential": "blocks.credential",
    "CredentialField": "blocks.credential",
    "GitHubApp": "blocks.service_accounts",
    "GoogleServiceAccount": "blocks.service_accounts",
    "Keyring": "blocks.keyring",
    "MemoryCredentials": "blocks.source",
    "MemoryTokens": "blocks.token_state",
    "OAuth2": "blocks.oauth2",
    "PrefectCredentials": "blocks.source",
    "StoredCredential": "blocks.documents",
    "TokenCredential": "blocks.token_credential",
    "TokenState": "blocks.token_state",
    "TokenStore": "blocks.token_state",
    "WebhookSecret": "blocks.credential_types",
    "add_key": "blocks.keyring",
    "credential_type": "blocks.credential",
    "default_keyring": "blocks.keyring",
    "delete_credential": "blocks.documents",
    "list_credentials": "blocks.documents",
    "load_credential": "blocks.documents",
    "reseal_all": "blocks.documents",
    "save_credential": "blocks.documents",
    "seal_document_data": "blocks.document_data",
    "use_keyring": "blocks.keyring",
}

__all__ = [
    "BLOCK_TYPES",
    "ApiKey",
    "BasicAuth",
    "BearerToken",
    "Credential",
    "CredentialField",
    "GitHubApp",
    "GoogleServiceAccount",
    "Keyring",
    "MemoryCredentials",
    "MemoryTokens",
    "OAuth2",
    "PrefectCredentials",
    "StoredCredential",
    "TokenCredential",
    "TokenState",
    "TokenStore",
    "WebhookSecret",
    "add_key",
    "credential_type",
    "default_keyring",
    "delete_credential",
    "list_credentials",
    "load_credential",
    "reseal_all",
    "save_credential",
    "seal_document_data",
    "use_keyring",
]


_TYPES = ("blocks.credential_types", "blocks.oauth2", "blocks.service_accounts")
"""Whoever asks for the known types finds these."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in _TYPES:
        import_module(module)
    return getattr(import_module(_MODULES[name]), name)
