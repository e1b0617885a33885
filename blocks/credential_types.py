"""The credential types that belong to no connector."""

from __future__ import annotations

from pydantic import Field, SecretStr

from blocks.credential import Credential

_PREVIOUS = "Secrets that are still accepted while senders change over."


class WebhookSecret(Credential):
    _block_type_slug = "webhook-secret"
    _block_type_name = "Webhook Secret"
    _description = "What a sender signs its webhooks with, or sends along to prove itself."

    secret: SecretStr = Field(description="The signing secret, as the sender shows it.")
    previous: list[SecretStr] = Field(default=[], description=_PREVIOUS)


class BasicAuth(Credential):
    _block_type_slug = "basic"
    _block_type_name = "Basic Auth"
    _description = "A user name and password, for HTTP Basic authentication (RFC 7617)."

    username: str = Field(description="The user name; not a secret.")
    password: SecretStr = Field(description="The password.")
    previous: list[SecretStr] = Field(
        default=[], description="Passwords that are still accepted while senders change over."
    )

    def reveal(self, field: str) -> str:
        secret = super().reveal(field)
        if field == "password":  # the header has both in one base64 text, where the password alone is not recognizable
            self._hide(f"{self.username}:{secret}")
        return secret


class BearerToken(Credential):
    _block_type_slug = "bearer"
    _block_type_name = "Bearer Token"
    _description = "A token sent as Authorization: Bearer (RFC 6750)."

    token: SecretStr = Field(description="The token, without the word Bearer.")
    previous: list[SecretStr] = Field(default=[], description=_PREVIOUS)


class ApiKey(Credential):
    _block_type_slug = "api-key"
    _block_type_name = "API Key"
    _description = "A key sent in a header of its own."
    _binds = ("header",)

    key: SecretStr = Field(description="The key.")
    header: str = Field(
        default="X-API-Key", description="The header that carries the key. Who changes it types the key again."
    )
    previous: list[SecretStr] = Field(default=[], description=_PREVIOUS)
