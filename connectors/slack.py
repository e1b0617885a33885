"""`slack`: messages through Slack's Web API."""

from __future__ import annotations

from typing import Any, TypedDict

from pydantic import Field, SecretStr

from blocks.credential import Credential
from connectors.kit.action import action
from connectors.kit.api import Api, given
from connectors.kit.auth import bearer
from connectors.kit.refusals import Errors, Fault
from connectors.webhooks.scheme import Handshake, Scheme
from foundation.errors import ActionError


class SlackCredential(Credential):
    _block_type_slug = "slack"
    _block_type_name = "Slack"
    _description = "A Slack app's bot token: https://api.slack.com/concepts/token-types"

    token: SecretStr = Field(description="The bot token, which begins with xoxb-.")


# https://docs.slack.dev/authentication/verifying-requests-from-slack
WEBHOOK = Scheme(
    name="slack",
    signature="header:X-Slack-Signature",
    prefix="v0=",
    signed=("v0:{timestamp}:{raw}",),
    timestamp="header:X-Slack-Request-Timestamp",
    tolerance=300,
    delivery=("body:event_id",),
    handshake=Handshake(when={"body:type": "url_verification"}, answer={"challenge": "body:challenge"}),
)

# Slack answers 200 to nearly everything; `ok` and a word say what other systems say by status.
API = Api(
    "slack",
    base_url="https://slack.com",
    auth={SlackCredential: bearer("token")},
    errors=Errors(
        vendor="Slack",
        refused=lambda answer: answer.json_object().get("ok") is not True,
        word="error",
        table={
            "account_inactive": Fault("the token's user or workspace is gone: make a new token"),
            "channel_not_found": Fault("check the channel's name or id, and invite the app if the channel is private"),
            "fatal_error": Fault(status=500),
            "internal_error": Fault(status=500),
            "invalid_auth": Fault("the token is wrong: set the credential again"),
            "is_archived": Fault("the channel is archived"),
            "missing_scope": Fault("give the app the scope it lacks and reinstall it", detail="needed"),
            "no_text": Fault("give a text or blocks"),
            "not_authed": Fault("the token is missing: set the credential again"),
            "not_in_channel": Fault("invite the app to the channel"),
            "rate_limited": Fault(status=429),
            "ratelimited": Fault(status=429),
            "service_unavailable": Fault(status=503),
            "token_expired": Fault("set the credential again with a new token"),
            "token_revoked": Fault("set the credential again with a new token"),
        },
    ),
)


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
    """
    if text is None and not blocks:
        raise ActionError("slack.post_message: give a text, blocks or both")
    message = given(channel=channel, text=text, blocks=blocks, thread_ts=thread_ts)
    answer = await API.post("/api/chat.postMessage", json=message, credential=credential)
    with answer.reading() as body:
        return {"ts": body["ts"], "channel": body["channel"], "message": body.get("message", {})}


async def check_credential(name: str) -> str:
    """Whose token it is: https://docs.slack.dev/reference/methods/auth.test"""
    body = (await API.post("/api/auth.test", credential=name)).json_object()
    return f"Slack knows the token: {body.get('user')} in {body.get('team')}"
