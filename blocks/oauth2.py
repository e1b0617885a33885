"""`oauth2`: a credential of any vendor that gives out tokens by OAuth 2 (RFC 6749), with PKCE (RFC 7636) and, for
machines without a browser, by device codes (RFC 8628)."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qsl, quote, urlsplit

from oauthlib.common import add_params_to_uri
from oauthlib.oauth2 import WebApplicationClient
from oauthlib.oauth2.rfc6749.errors import OAuth2Error
from oauthlib.oauth2.rfc6749.parameters import parse_token_response, prepare_token_request
from pydantic import Field, SecretStr, field_validator, model_validator

from blocks.oauth_providers import OTHERS, PROVIDERS, ClientAuth, Provider
from blocks.sealed_text import Place
from blocks.token_credential import TokenCredential, TokenRefused, TokenRequest, Tokens
from foundation.errors import CredentialError

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
VERIFIER_CHARACTERS: Final = 64
_TEMPORARY: Final = frozenset(
    {"authorization_pending", "slow_down", "temporarily_unavailable", "server_error", "rate_limited", "ratelimited"}
)


class OAuth2(TokenCredential):
    _block_type_slug = "oauth2"
    _block_type_name = "OAuth 2"
    _description = "Access to a system that gives out tokens by OAuth 2 (RFC 6749)."
    _binds = ("provider", "token_url", "authorize_url", "device_url")

    grant: Literal["authorization_code", "client_credentials", "device_code"] = Field(
        default="authorization_code",
        description="How tokens are got: authorization_code and device_code ask a person for consent once "
        "(`ipaas credentials connect`), client_credentials asks nobody.",
    )
    provider: str = Field(
        default="", description=f"Fills in the addresses below: {', '.join(PROVIDERS)}. Empty: give them yourself."
    )
    authorize_url: str = Field(
        default="",
        description="Where people consent. Who changes an address types the secrets again.",
        examples=["https://auth.example/authorize"],
    )
    token_url: str = Field(
        default="", description="Where tokens are given out.", examples=["https://auth.example/token"]
    )
    device_url: str = Field(default="", description="Where device codes are given out, for device_code.")
    client_id: str = Field(description="The client's id, as the vendor shows it; not a secret.", examples=["client"])
    client_secret: SecretStr = Field(default=SecretStr(""), description="Its secret; a public client has none.")
    scopes: list[str] = Field(default=[], description="What the tokens are for, in the vendor's words.")
    client_auth: Literal["", "basic", "body"] = Field(
        default="",
        description="How the client's secret is sent: in the header (basic) or in the body. Empty: as usual.",
    )
    parameters: dict[str, str] = Field(
        default={}, description="What the vendor wants besides, as in audience. Not for secrets."
    )
    refresh_token: SecretStr = Field(
        default=SecretStr(""), description="One that you have already, to begin with; else connect it."
    )

    @field_validator("provider")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value and value not in PROVIDERS:
            raise ValueError(f"is none of {', '.join(PROVIDERS)}; leave it empty and give the addresses")
        return value

    @field_validator("authorize_url", "token_url", "device_url")
    @classmethod
    def _is_private(cls, value: str) -> str:
        return must_be_private(value) if value else value

    @model_validator(mode="after")
    def _has_addresses(self) -> Self:
        known = self._known
        needed = {"authorization_code": "authorize_url", "device_code": "device_url"}.get(self.grant)
        for name in filter(None, ("token_url", needed)):
            if not (getattr(self, name) or getattr(known, name)):
                raise ValueError(f"{name} is missing; give it, or a provider that has one")
        return self

    @property
    def _known(self) -> Provider:
        return PROVIDERS.get(self.provider, OTHERS)

    @property
    def margin(self) -> float:
        return self._known.margin

    @property
    def keep_alive(self) -> float | None:
        return None if self.grant == "client_credentials" else self._known.keep_alive

    def token_place(self, name: str) -> Place:
        bound: dict[str, str | None] = {"token_url": self._token_url, "client_id": self.client_id, "grant": self.grant}
        for seed in self._opened("refresh_token", [self.refresh_token]):  # another one begins anew
            bound["refresh_token"] = hashlib.sha256(seed.encode()).hexdigest()
        if self.grant == "client_credentials":  # whose tokens may be got anew at any time
            bound |= {"scopes": " ".join(self.scopes), "parameters": repr(sorted(self.parameters.items()))}
        return Place(self.get_block_type_slug(), "tokens", name, bound)

    def consent_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        """Where a person's browser goes for consent.

        Raises:
            CredentialError: nobody is asked for this grant.
        """
        if self.grant != "authorization_code":
            raise CredentialError(f"nobody's consent is asked in a browser for grant {self.grant}")
        challenge = WebApplicationClient(self.client_id).create_code_challenge(verifier, "S256")
        wanted = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._scope,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **self._known.parameters,
            **self.parameters,
        }
        url = self.authorize_url or self._known.authorize_url
        return str(add_params_to_uri(url, [(name, value) for name, value in wanted.items() if value]))

    def code_request(self, code: str, *, redirect_uri: str, verifier: str) -> TokenRequest:
        """What exchanges the code that consent gave."""
        return self._request("authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=verifier)

    def device_request(self) -> TokenRequest:
        """What asks for a device code.

        Raises:
            CredentialError: this grant has none.
        """
        if self.grant != "device_code":
            raise CredentialError(f"grant {self.grant} has no device codes")
        request = self._request("", client_id=self.client_id, scope=self._scope, **self.parameters)
        form = {name: value for name, value in request.form.items() if value}
        return TokenRequest(self.device_url or self._known.device_url, form, request.headers)

    def device_token_request(self, device_code: str) -> TokenRequest:
        """What asks whether a person has consented to a device code."""
        return self._request(DEVICE_GRANT, device_code=device_code)

    def token_request(self, refresh_token: str, now: datetime) -> TokenRequest | None:
        if self.grant == "client_credentials":
            return self._request("client_credentials", scope=self._scope, **self.parameters)
        token = refresh_token or self.reveal("refresh_token")
        return self._request("refresh_token", refresh_token=token) if token else None

    def tokens_in(self, answer: Mapping[str, Any], now: datetime, *, refresh_token: str = "") -> Tokens:
        return standard_tokens(answer, refresh_token)

    @staticmethod
    def new_verifier() -> str:
        """A fresh secret that ties a code to whoever asked for it."""
        return secrets.token_urlsafe(VERIFIER_CHARACTERS)[:VERIFIER_CHARACTERS]

    @property
    def _token_url(self) -> str:
        return self.token_url or self._known.token_url

    @property
    def _scope(self) -> str:
        return self._known.between_scopes.join(self.scopes)

    def _request(self, grant: str, **values: str) -> TokenRequest:
        secret, headers = self.reveal("client_secret"), {"Accept": "application/json"}
        if secret and self._client_auth == "basic":
            pair = f"{quote(self.client_id, safe='')}:{quote(secret, safe='')}"  # RFC 6749, 2.3.1
            encoded = base64.b64encode(pair.encode()).decode()
            self._hide(encoded)
            headers["Authorization"] = f"Basic {encoded}"
        else:
            values |= {"client_id": self.client_id} | ({"client_secret": secret} if secret else {})
        body = prepare_token_request(grant, **values)
        return TokenRequest(self._token_url, dict(parse_qsl(body, keep_blank_values=True)), headers)

    @property
    def _client_auth(self) -> ClientAuth:
        return self.client_auth or self._known.client_auth


def standard_tokens(answer: Mapping[str, Any], refresh_token: str = "") -> Tokens:
    """The tokens of an answer as RFC 6749, 5.1 has it; `refresh_token` stays good when it has none.

    Raises:
        TokenRefused: it has an error instead, or no token.
    """
    # Slack and GitHub answer 200 to nearly everything, with the error in the body.
    if word := str(answer.get("error") or ""):
        said = str(answer.get("error_description") or "")
        raise TokenRefused(f"{word}: {said}" if said else word, lasting=word not in _TEMPORARY, word=word)
    try:
        read = parse_token_response(json.dumps(dict(answer)))
    except OAuth2Error as error:
        raise TokenRefused(f"the answer has no token: {error.description or error.error}", lasting=False) from None
    seconds = read.get("expires_in")
    return Tokens(
        str(read["access_token"]),
        str(read.get("refresh_token") or refresh_token),
        float(seconds) if isinstance(seconds, int | float) else None,
    )


def must_be_private(url: str) -> str:
    """The address. Raises ValueError when others could read along."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}):
        return url
    raise ValueError("must begin with https://: secrets and tokens go there")
