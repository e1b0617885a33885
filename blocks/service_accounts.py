"""Credentials of programs instead of people: they sign what asks for a token with a key of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import jwt
from pydantic import Field, SecretStr, field_validator

from blocks.oauth2 import must_be_private, standard_tokens
from blocks.sealed_text import Place
from blocks.token_credential import TokenCredential, TokenRefused, TokenRequest, Tokens
from foundation.errors import CredentialError

JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523
GITHUB_SECONDS: Final = 540
"""How long GitHub takes an app's JWT: ten minutes at most, and clocks differ."""


class GoogleServiceAccount(TokenCredential):
    """https://developers.google.com/identity/protocols/oauth2/service-account"""

    _block_type_slug = "google-service-account"
    _block_type_name = "Google Service Account"
    _description = "A Google service account, by its JSON key."

    key: SecretStr = Field(description="The key file's whole text, as Google Cloud gives it out: a JSON object.")
    scopes: list[str] = Field(description="Addresses that begin with https://www.googleapis.com/auth/.")
    subject: str = Field(default="", description="The user it acts for, where the domain lets it. Empty: itself.")

    def token_place(self, name: str) -> Place:
        return Place(
            self.get_block_type_slug(), "tokens", name, {"scopes": " ".join(self.scopes), "subject": self.subject}
        )

    def token_request(self, refresh_token: str, now: datetime) -> TokenRequest:
        try:
            key = json.loads(self.reveal("key"))
            account, private, url = str(key["client_email"]), str(key["private_key"]), str(key["token_uri"])
        except (ValueError, KeyError, TypeError):
            raise CredentialError(
                "key is not the JSON text of a service account's key, with client_email, private_key and token_uri"
            ) from None
        self._hide(private)
        issued = int(now.timestamp())
        claims = {"iss": account, "scope": " ".join(self.scopes), "aud": url, "iat": issued, "exp": issued + 3600}
        assertion = _signed(claims | ({"sub": self.subject} if self.subject else {}), private)
        return TokenRequest(_private(url), {"grant_type": JWT_GRANT, "assertion": assertion})

    def tokens_in(self, answer: Mapping[str, Any], now: datetime, *, refresh_token: str = "") -> Tokens:
        return standard_tokens(answer)


class GitHubApp(TokenCredential):
    """https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app"""

    _block_type_slug = "github-app"
    _block_type_name = "GitHub App"
    _description = "A GitHub App as it is installed in an organization or an account."
    _binds = ("base_url",)

    app_id: str = Field(description="The app's id, or its client id.")
    installation_id: str = Field(description="The number at the end of the installation's address.")
    private_key: SecretStr = Field(description="The app's private key: the text of the .pem file.")
    base_url: str = Field(
        default="https://api.github.com",
        description="The API's address, for GitHub Enterprise Server. Who changes it gives the key again.",
    )

    @field_validator("base_url")
    @classmethod
    def _is_private(cls, value: str) -> str:
        return must_be_private(value)

    def token_place(self, name: str) -> Place:
        bound = {"app_id": self.app_id, "installation_id": self.installation_id, "base_url": self.base_url}
        return Place(self.get_block_type_slug(), "tokens", name, bound)

    def token_request(self, refresh_token: str, now: datetime) -> TokenRequest:
        issued = int(now.timestamp())
        claims = {"iss": self.app_id, "iat": issued - 60, "exp": issued + GITHUB_SECONDS}
        proof = _signed(claims, self.reveal("private_key"))
        headers = {"Authorization": f"Bearer {proof}", "Accept": "application/vnd.github+json"}
        installation = f"{self.base_url.rstrip('/')}/app/installations/{self.installation_id}"
        return TokenRequest(f"{installation}/access_tokens", headers=headers)

    def tokens_in(self, answer: Mapping[str, Any], now: datetime, *, refresh_token: str = "") -> Tokens:
        try:
            until = datetime.fromisoformat(str(answer["expires_at"]))
            return Tokens(str(answer["token"]), expires_in=(until - now).total_seconds())
        except (KeyError, ValueError, TypeError):
            raise TokenRefused("the answer has no token", lasting=False) from None


def _signed(claims: Mapping[str, Any], key: str) -> str:
    """Raises CredentialError."""
    try:
        return jwt.encode(dict(claims), key, algorithm="RS256")
    except (ValueError, TypeError, jwt.PyJWTError):
        raise CredentialError("the private key is not an RSA key in PEM form") from None


def _private(url: str) -> str:
    """Raises CredentialError."""
    try:
        return must_be_private(url)
    except ValueError as error:
        raise CredentialError(f"token_uri {error}") from None
