"""`discord`: messages through a channel's webhook."""

from __future__ import annotations

import re
from typing import Any, TypedDict

from pydantic import Field, SecretStr

from blocks.credential import Credential
from connectors.kit.action import action
from connectors.kit.api import Api, given
from connectors.kit.auth import in_the_address
from connectors.kit.refusals import Errors, Fault
from connectors.webhooks.scheme import Handshake, Scheme
from foundation.errors import ActionError, CredentialError


class DiscordCredential(Credential):
    _block_type_slug = "discord"
    _block_type_name = "Discord"
    _description = "A Discord channel's webhook: https://discord.com/developers/docs/resources/webhook"

    webhook_url: SecretStr = Field(
        title="Webhook URL",
        description="The webhook's whole URL: whoever has it can post to the channel.",
        examples=["https://discord.com/api/webhooks/1234567890/the-webhooks-token"],
    )

    def reveal(self, field: str) -> str:
        secret = super().reveal(field)
        if field == "webhook_url":  # the token at its end alone is as good as the whole URL
            self._hide(secret.strip().partition("?")[0].rstrip("/").rpartition("/")[2])
        return secret


# https://discord.com/developers/docs/interactions/overview#setting-up-an-endpoint
WEBHOOK = Scheme(
    name="discord",
    style="ed25519",
    signature="header:X-Signature-Ed25519",
    signed=("{timestamp}{raw}",),
    key="hex",
    timestamp="header:X-Signature-Timestamp",
    tolerance=300,
    delivery=("body:id",),
    handshake=Handshake(when={"body:type": 1}, answer={"type": 1}),
)


def _webhook(credential: DiscordCredential) -> str:
    """The webhook's URL is where the API is, and the secret."""
    url = credential.reveal("webhook_url").strip()
    if not re.match(r"https?://[^/?#]+/[^?#]*webhooks/", url):
        raise CredentialError("webhook_url must be like https://discord.com/api/webhooks/ID/TOKEN")
    return url


API = Api(
    "discord",
    base_url=_webhook,
    auth={DiscordCredential: in_the_address},
    # https://discord.com/developers/docs/topics/opcodes-and-status-codes#json
    errors=Errors(
        word="code",
        table={
            "10003": Fault("the webhook's channel is gone: make a webhook in another one"),
            "10015": Fault("the webhook is deleted: make a new one and set the credential again"),
            "50006": Fault("give a content or embeds"),
            "50027": Fault("set the credential again with the webhook's URL"),
            "50035": Fault("a part of the message is too long or not in Discord's form"),
        },
    ),
)


class PostedMessage(TypedDict):
    id: str
    channel_id: str
    content: str
    timestamp: str | None


@action("discord.post_message", credential=DiscordCredential)
async def post_message(
    *, content: str | None = None, embeds: list[dict[str, Any]] | None = None, credential: str
) -> PostedMessage:
    """Posts a message: https://discord.com/developers/docs/resources/webhook#execute-webhook

    Args:
        content: the message, up to 2000 characters.
        embeds: up to 10 embeds.
        credential: the name of a credential of type discord, which has the channel's webhook URL.

    Returns:
        The message's id, its channel's id, its content and when it was posted (ISO 8601).
    """
    if content is None and not embeds:
        raise ActionError("discord.post_message: give a content, embeds or both")
    message = given(content=content, embeds=embeds)
    answer = await API.post(query={"wait": "true"}, json=message, credential=credential)
    with answer.reading() as body:
        sent, at = body.get("content", ""), body.get("timestamp")
        return {"id": body["id"], "channel_id": body["channel_id"], "content": sent, "timestamp": at}


async def check_credential(name: str) -> str:
    """Which webhook it is: https://discord.com/developers/docs/resources/webhook#get-webhook-with-token"""
    body = (await API.get(credential=name)).json_object()
    return f"Discord knows the webhook: {body.get('name')} of channel {body.get('channel_id')}"
