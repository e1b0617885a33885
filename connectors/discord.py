"""`discord`: messages through a channel's webhook."""

from __future__ import annotations

from typing import Any, TypedDict
from urllib.parse import urlsplit

from blocks.credential_types import DiscordCredential
from connectors.kit.action import action, opened
from connectors.kit.call import current_call
from connectors.kit.http_client import request
from foundation.errors import ActionError, CredentialError, RemoteError


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

    Raises:
        RemoteError: Discord refused.
        CredentialError: the credential's URL is no webhook's.
    """
    if content is None and not embeds:
        raise ActionError("discord.post_message: give a content, embeds or both")
    given = {"content": content, "embeds": embeds}
    answer = await request(
        "POST",
        await _webhook_url(credential),
        query={"wait": "true"},
        json={name: value for name, value in given.items() if value is not None},
        credential=credential,
    )
    body = answer.json_object()
    try:
        return {
            "id": body["id"],
            "channel_id": body["channel_id"],
            "content": body.get("content", ""),
            "timestamp": body.get("timestamp"),
        }
    except KeyError as error:
        raise RemoteError(f"Discord answered without {error}", status=answer.status) from None


async def check_credential(name: str) -> str:
    """Which webhook it is: https://discord.com/developers/docs/resources/webhook#get-webhook-with-token"""
    answer = await request("GET", await _webhook_url(name), credential=name)
    body = answer.json_object()
    return f"Discord knows the webhook: {body.get('name')} of channel {body.get('channel_id')}"


async def _webhook_url(name: str) -> str:
    url = urlsplit((await opened(name, DiscordCredential)).reveal("webhook_url").strip())
    if url.scheme not in {"http", "https"} or not url.hostname or "/webhooks/" not in url.path:
        raise CredentialError(
            f"credential {name!r}: webhook_url must be like https://discord.com/api/webhooks/ID/TOKEN"
        )
    services = current_call.get().services
    services.masker.add(url.path.rstrip("/").rpartition("/")[2])  # the token alone is as good as the whole URL
    base = services.base_url("discord", f"{url.scheme}://{url.netloc}")
    return f"{base}{url.path}?{url.query}" if url.query else f"{base}{url.path}"
