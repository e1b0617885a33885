"""The credential types that ship with the platform."""

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


class SlackCredential(Credential):
    _block_type_slug = "slack"
    _block_type_name = "Slack"
    _description = "A Slack app's bot token: https://api.slack.com/concepts/token-types"

    token: SecretStr = Field(description="The bot token, which begins with xoxb-.")


class DiscordCredential(Credential):
    _block_type_slug = "discord"
    _block_type_name = "Discord"
    _description = "A Discord channel's webhook: https://discord.com/developers/docs/resources/webhook"

    webhook_url: SecretStr = Field(
        title="Webhook URL",
        description="The webhook's whole URL: whoever has it can post to the channel.",
        examples=["https://discord.com/api/webhooks/1234567890/the-webhooks-token"],
    )


class OpenWeatherCredential(Credential):
    _block_type_slug = "openweather"
    _block_type_name = "OpenWeather"
    _description = "An OpenWeather API key: https://openweathermap.org/appid"

    api_key: SecretStr = Field(title="API key", description="The API key.")
