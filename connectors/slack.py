"""`slack`: messages through Slack's Web API."""

from __future__ import annotations

from typing import Any, TypedDict

from blocks.credential_types import SlackCredential
from connectors.kit.action import action, opened
from connectors.kit.answer import retry_after_seconds
from connectors.kit.call import current_call
from connectors.kit.http_client import request
from foundation.errors import ActionError, RemoteError

API = "https://slack.com"

# Slack answers 200 to nearly everything; these words mean what other systems say by status.
_STATUS_OF_WORD = {
    "ratelimited": 429,
    "rate_limited": 429,
    "internal_error": 500,
    "fatal_error": 500,
    "service_unavailable": 503,
}

_WHAT_TO_DO = {
    "account_inactive": "the token's user or workspace is gone: make a new token",
    "channel_not_found": "check the channel's name or id, and invite the app if the channel is private",
    "invalid_auth": "the token is wrong: set the credential again",
    "is_archived": "the channel is archived",
    "missing_scope": "give the app the scope it lacks and reinstall it",
    "no_text": "give a text or blocks",
    "not_authed": "the token is missing: set the credential again",
    "not_in_channel": "invite the app to the channel",
    "token_expired": "set the credential again with a new token",
    "token_revoked": "set the credential again with a new token",
}


class PostedMessage(TypedDict):
    """`ts` identifies the message within its channel; it is what a reply gives as `thread_ts`."""

    ts: str
    channel: str
    message: dict[str, Any]


@action("slack.post_message", credential=SlackCredential)
async def post_message(
    *,
    channel: str,
    text: str | None = None,
    blocks: list[dict[str, Any]] | None = None,
    thread_ts: str | None = None,
    credential: str,
) -> PostedMessage:
    """Posts a message: https://docs.slack.dev/reference/methods/chat.postMessage

    Args:
        channel: a channel's id or its name with `#`, or a user's id.
        text: the message; with blocks, what notifications show.
        blocks: Block Kit blocks.
        thread_ts: the `ts` of the message this one replies to.
        credential: the name of a credential of type slack.

    Returns:
        The message's `ts`, the channel's id, and the message as Slack stored it.

    Raises:
        RemoteError: Slack refused; the message has Slack's own word for it.
    """
    if text is None and not blocks:
        raise ActionError("slack.post_message: give a text, blocks or both")
    token = (await opened(credential, SlackCredential)).reveal("token")
    given = {"channel": channel, "text": text, "blocks": blocks, "thread_ts": thread_ts}
    services = current_call.get().services
    answer = await request(
        "POST",
        f"{services.base_url('slack', API)}/api/chat.postMessage",
        auth={"Authorization": f"Bearer {token}"},
        json={name: value for name, value in given.items() if value is not None},
        credential=credential,
    )
    body = answer.json_object()
    if body.get("ok") is not True:
        raise _refusal(body, answer.status, retry_after_seconds(answer.headers, services.clock.now()))
    try:
        return {"ts": body["ts"], "channel": body["channel"], "message": body.get("message", {})}
    except KeyError as error:
        raise RemoteError(f"Slack answered without {error}", status=answer.status) from None


async def check_credential(name: str) -> str:
    """Whose token it is: https://docs.slack.dev/reference/methods/auth.test"""
    token = (await opened(name, SlackCredential)).reveal("token")
    services = current_call.get().services
    answer = await request(
        "POST",
        f"{services.base_url('slack', API)}/api/auth.test",
        auth={"Authorization": f"Bearer {token}"},
        credential=name,
    )
    body = answer.json_object()
    if body.get("ok") is not True:
        raise _refusal(body, answer.status, retry_after_seconds(answer.headers, services.clock.now()))
    return f"Slack knows the token: {body.get('user')} in {body.get('team')}"


def _refusal(body: dict[str, Any], status: int, retry_after: float | None) -> RemoteError:
    word = str(body.get("error", "unknown_error"))
    message = f"Slack refused: {word}"
    if word == "missing_scope" and body.get("needed"):
        message += f" (needed: {body['needed']})"
    if word in _WHAT_TO_DO:
        message += f"; {_WHAT_TO_DO[word]}"
    meant = _STATUS_OF_WORD.get(word)
    return RemoteError(message, status=meant or status, retriable=meant is not None, retry_after=retry_after)
