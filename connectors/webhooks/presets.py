"""The senders we know, each a record with the page of its vendor.

Here stand those that have no connector; a connector's own preset stands in its file. Who signs a time has a window for
it, the sender's own where its page names one, else 300 s as most have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from connectors.webhooks.scheme import Handshake, Scheme

_STANDARD = {
    "signed": "{delivery}.{timestamp}.{raw}",
    "encoding": "base64",
    "separator": " ",
    "tolerance": 300,
    "key": "base64",
}


def _standard(name: str, headers: str) -> Scheme:
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    fields = {
        **_STANDARD,
        "name": name,
        "signature": f"header:{headers}-signature",
        "timestamp": f"header:{headers}-timestamp",
        "delivery": f"header:{headers}-id",
    }
    public = Scheme.model_validate({**fields, "style": "ed25519", "prefix": "v1a,", "key_prefix": "whpk_"})
    return Scheme.model_validate({**fields, "prefix": "v1,", "key_prefix": "whsec_", "variants": (public,)})


_ALL = (
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    Scheme(
        name="github",
        signature="header:X-Hub-Signature-256",
        prefix="sha256=",
        delivery=("header:X-GitHub-Delivery",),
    ),
    # https://docs.stripe.com/webhooks#verify-manually; the key is the whole whsec_… text
    Scheme(
        name="stripe",
        signature="header:Stripe-Signature",
        separator=",",
        prefix="v1=",
        signed=("{timestamp}.{raw}",),
        timestamp="field:t",
        tolerance=300,
        delivery=("body:id",),
    ),
    # https://shopify.dev/docs/apps/build/webhooks/subscribe/https
    Scheme(
        name="shopify",
        signature="header:X-Shopify-Hmac-Sha256",
        encoding="base64",
        delivery=("header:X-Shopify-Webhook-Id",),
    ),
    # https://www.twilio.com/docs/usage/security; without an id of its own: CallSid and MessageSid stay the same over
    # a call's or message's many status callbacks, while a retry repeats its URL and form, so its hash tells
    Scheme(
        name="twilio",
        signature="header:X-Twilio-Signature",
        encoding="base64",
        algorithm="sha1",
        signed=("{url}{twilio-body}", "{url-without-port}{twilio-body}", "{url-with-port}{twilio-body}"),
    ),
    _standard("standard-webhooks", "webhook"),
    # https://docs.svix.com/receiving/verifying-payloads/how-manual
    _standard("svix", "svix"),
    # https://docs.gitlab.com/user/project/integrations/webhooks/; Idempotency-Key is the same over retries, while
    # hooks that set each other off share one X-Gitlab-Event-UUID: that is for versions before 17.4
    Scheme(
        name="gitlab",
        style="token",
        signature="header:X-Gitlab-Token",
        encoding="text",
        delivery=("header:Idempotency-Key", "header:X-Gitlab-Event-UUID"),
    ),
    # https://linear.app/developers/webhooks
    Scheme(
        name="linear",
        signature="header:Linear-Signature",
        timestamp="body:webhookTimestamp",
        timestamp_unit="ms",
        tolerance=60,
        delivery=("header:Linear-Delivery",),
    ),
    # https://developer.zendesk.com/documentation/webhooks/verifying/
    Scheme(
        name="zendesk",
        signature="header:X-Zendesk-Webhook-Signature",
        encoding="base64",
        signed=("{timestamp}{raw}",),
        timestamp="header:X-Zendesk-Webhook-Signature-Timestamp",
        timestamp_unit="iso",
        tolerance=300,
        delivery=("header:X-Zendesk-Webhook-Invocation-Id",),
    ),
    # https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests
    Scheme(
        name="hubspot",
        signature="header:X-HubSpot-Signature-v3",
        encoding="base64",
        signed=("{method}{url-decoded}{raw}{timestamp}",),
        timestamp="header:X-HubSpot-Request-Timestamp",
        timestamp_unit="ms",
        tolerance=300,
    ),
    # https://developers.intercom.com/docs/webhooks/webhook-notifications
    Scheme(
        name="intercom",
        signature="header:X-Hub-Signature",
        prefix="sha1=",
        algorithm="sha1",
        delivery=("body:id",),
    ),
    # https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks; the rest of the body is
    # not covered, so a token is a delivery's id and counts once for all hooks of its credential
    Scheme(
        name="mailgun",
        signature="body:signature.signature",
        signed=("{timestamp}{delivery}",),
        timestamp="body:signature.timestamp",
        tolerance=300,
        delivery=("body:signature.token",),
    ),
    # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    Scheme(
        name="sendgrid",
        style="ecdsa",
        signature="header:X-Twilio-Email-Event-Webhook-Signature",
        encoding="base64",
        signed=("{timestamp}{raw}",),
        key="base64",
        timestamp="header:X-Twilio-Email-Event-Webhook-Timestamp",
        tolerance=300,
    ),
    # https://www.typeform.com/developers/webhooks/secure-your-webhooks/
    Scheme(
        name="typeform",
        signature="header:Typeform-Signature",
        prefix="sha256=",
        encoding="base64",
        delivery=("body:event_id",),
    ),
    # https://developer.calendly.com/api-docs/webhook-signatures
    Scheme(
        name="calendly",
        signature="header:Calendly-Webhook-Signature",
        separator=",",
        prefix="v1=",
        signed=("{timestamp}.{raw}",),
        timestamp="field:t",
        tolerance=180,
    ),
    # https://developer.squareup.com/docs/webhooks/step3validate
    Scheme(
        name="square",
        signature="header:x-square-hmacsha256-signature",
        encoding="base64",
        signed=("{url}{raw}",),
        delivery=("body:event_id",),
    ),
    # https://developer.paddle.com/webhooks/signature-verification; 5 s is its own libraries' default
    Scheme(
        name="paddle",
        signature="header:Paddle-Signature",
        separator=";",
        prefix="h1=",
        signed=("{timestamp}:{raw}",),
        timestamp="field:ts",
        tolerance=5,
        delivery=("body:event_id",),
    ),
    # https://docs.lemonsqueezy.com/help/webhooks/signing-requests
    Scheme(name="lemonsqueezy", signature="header:X-Signature"),
    # https://core.telegram.org/bots/api#setwebhook
    Scheme(
        name="telegram",
        style="token",
        signature="header:X-Telegram-Bot-Api-Secret-Token",
        encoding="text",
        delivery=("body:update_id",),
    ),
    # https://developers.zoom.us/docs/api/webhooks/
    Scheme(
        name="zoom",
        signature="header:x-zm-signature",
        prefix="v0=",
        signed=("v0:{timestamp}:{raw}",),
        timestamp="header:x-zm-request-timestamp",
        tolerance=300,
        handshake=Handshake(
            when={"body:event": "endpoint.url_validation"},
            answer={"plainToken": "body:payload.plainToken", "encryptedToken": "hmac:body:payload.plainToken"},
        ),
    ),
)

SENDERS: Final[Mapping[str, Scheme]] = {scheme.name: scheme for scheme in _ALL}
"""Those without a connector."""


class _Presets(Mapping[str, Scheme]):
    """All senders. The connectors are loaded when one is asked for that does not stand here."""

    def __getitem__(self, name: str) -> Scheme:
        return SENDERS[name] if name in SENDERS else self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, Scheme]:
        # Loaded by name: the kit is above this room.
        return {**SENDERS, **import_module("connectors.kit.descriptions").schemes()}


PRESETS: Final[Mapping[str, Scheme]] = _Presets()
"""Every sender we know, those of connectors included, by name."""
