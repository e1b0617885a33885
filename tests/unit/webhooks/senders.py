"""Senders as their vendors describe them: plain code that knows nothing of schemes, to hold our records against."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.signing import SigningKey

from connectors.webhooks import Delivery

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PUBLIC_URL = "https://hooks.example.com"
RECEIVED_URL = "http://10.0.0.7:8080/hooks/shop?tenant=7&name=a%3Ab"
SENT_URL = "https://hooks.example.com/hooks/shop?tenant=7&name=a%3Ab"
JSON = b'{"id": "d-1", "event_id": "d-1", "update_id": "d-1", "text": "gr\xc3\xbc\xc3\x9fe"}'

Headers = dict[str, str]
Send = Callable[[str, bytes, datetime], tuple[Headers, bytes]]


@dataclass(frozen=True)
class Sender:
    name: str
    send: Send
    """(signing secret, body, time) → headers and the body as sent."""
    secrets: tuple[tuple[str, str], ...]
    """Pairs: what the sender signs with, and what the credential holds. At least two."""
    window: int | None = None
    """Seconds; None: no replay window."""
    delivery_id: str | None = None
    body: bytes = JSON
    options: dict[str, Any] = field(default_factory=dict)
    token: bool = False
    tampering_shows: bool = True

    def deliver(self, which: int = 0, *, at: datetime = NOW, body: bytes | None = None) -> Delivery:
        headers, sent = self.send(self.secrets[which][0], self.body if body is None else body, at)
        return delivery(headers, sent)

    def held(self, which: int = 0) -> str:
        return self.secrets[which][1]


def delivery(headers: Headers, body: bytes, *, method: str = "POST", url: str = RECEIVED_URL) -> Delivery:
    return Delivery(method, url, [(key.encode(), value.encode("latin-1")) for key, value in headers.items()], body)


def seconds(at: datetime) -> str:
    return str(int(at.timestamp()))


def millis(at: datetime) -> str:
    return str(int(at.timestamp() * 1000))


def digest(key: str | bytes, message: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(key.encode() if isinstance(key, str) else key, message, getattr(hashlib, algorithm)).digest()


def b64(value: bytes) -> str:
    return b64encode(value).decode()


def github(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    return {"X-Hub-Signature-256": "sha256=" + digest(secret, body).hex(), "X-GitHub-Delivery": "d-1"}, body


def stripe(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    ts = seconds(at)
    return {"Stripe-Signature": f"t={ts},v1={digest(secret, ts.encode() + b'.' + body).hex()},v0=6ffbb59b"}, body


def slack(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    ts = seconds(at)
    signature = "v0=" + digest(secret, f"v0:{ts}:".encode() + body).hex()
    return {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": ts}, body


def shopify(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    return {"X-Shopify-Hmac-Sha256": b64(digest(secret, body)), "X-Shopify-Webhook-Id": "d-1"}, body


def twilio(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    form = {"CallSid": "CA1", "From": "+14158675309", "Body": "Grüße & mehr"}
    signed = SENT_URL + "".join(key + form[key] for key in sorted(form))
    return {
        "X-Twilio-Signature": b64(digest(secret, signed.encode(), "sha1")),
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
    }, body


def standard(prefix: str) -> Send:
    def send(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
        signed = f"d-1.{seconds(at)}.".encode() + body
        if secret.startswith("whsk_"):
            signature = "v1a," + b64(SigningKey(b64decode(secret.removeprefix("whsk_"))).sign(signed).signature)
        else:
            signature = "v1," + b64(digest(b64decode(secret.removeprefix("whsec_")), signed))
        return {f"{prefix}-id": "d-1", f"{prefix}-timestamp": seconds(at), f"{prefix}-signature": signature}, body

    return send


def token(header: str, **more: str) -> Send:
    return lambda secret, body, at: ({header: secret, **more}, body)


def basic(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    return {"Authorization": "Basic " + b64(secret.encode())}, body


def bearer(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    return {"Authorization": "Bearer " + secret}, body


def linear(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    sent = json.dumps({**json.loads(body), "webhookTimestamp": int(millis(at))}).encode()
    return {"Linear-Signature": digest(secret, sent).hex(), "Linear-Delivery": "d-1"}, sent


def zendesk(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    ts = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "X-Zendesk-Webhook-Signature": b64(digest(secret, ts.encode() + body)),
        "X-Zendesk-Webhook-Signature-Timestamp": ts,
        "X-Zendesk-Webhook-Invocation-Id": "d-1",
    }, body


def hubspot(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    signed = b"POST" + SENT_URL.replace("%3A", ":").encode() + body + millis(at).encode()
    return {"X-HubSpot-Signature-v3": b64(digest(secret, signed)), "X-HubSpot-Request-Timestamp": millis(at)}, body


def intercom(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    return {"X-Hub-Signature": "sha1=" + digest(secret, body, "sha1").hex()}, body


def mailgun(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    signature = {"timestamp": seconds(at), "token": "d-1"}
    signature["signature"] = digest(secret, (signature["timestamp"] + signature["token"]).encode()).hex()
    return {}, json.dumps({**json.loads(body), "signature": signature}).encode()


def p256(scalar: int) -> tuple[str, str]:
    public = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    return str(scalar), b64(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def sendgrid(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    private = ec.derive_private_key(int(secret), ec.SECP256R1())
    return {
        "X-Twilio-Email-Event-Webhook-Signature": b64(private.sign(seconds(at).encode() + body, ec.ECDSA(SHA256()))),
        "X-Twilio-Email-Event-Webhook-Timestamp": seconds(at),
    }, body


def ed25519(seed: bytes) -> tuple[str, str]:
    return seed.hex(), SigningKey(seed).verify_key.encode().hex()


def discord(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    signature = SigningKey(bytes.fromhex(secret)).sign(seconds(at).encode() + body).signature
    return {"X-Signature-Ed25519": signature.hex(), "X-Signature-Timestamp": seconds(at)}, body


def typeform(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    return {"Typeform-Signature": "sha256=" + b64(digest(secret, body))}, body


def calendly(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    ts = seconds(at)
    return {"Calendly-Webhook-Signature": f"t={ts},v1={digest(secret, f'{ts}.'.encode() + body).hex()}"}, body


def square(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    return {"x-square-hmacsha256-signature": b64(digest(secret, SENT_URL.encode() + body))}, body


def paddle(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    ts = seconds(at)
    return {"Paddle-Signature": f"ts={ts};h1={digest(secret, f'{ts}:'.encode() + body).hex()}"}, body


def lemonsqueezy(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    return {"X-Signature": digest(secret, body).hex()}, body


def zoom(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    ts = seconds(at)
    signature = "v0=" + digest(secret, f"v0:{ts}:".encode() + body).hex()
    return {"x-zm-signature": signature, "x-zm-request-timestamp": ts}, body


def house(secret: str, body: bytes, at: datetime) -> tuple[Headers, bytes]:
    ts = seconds(at)
    return {"X-Sig": "h " + b64(digest(secret, f"{ts}.".encode() + body, "sha512")), "X-Time": ts, "X-Id": "d-1"}, body


SAME = (("s3cret", "s3cret"), ("0ld", "0ld"))
TWO_KEYS = tuple((f"whsec_{b64(key * 24)}",) * 2 for key in (b"n", b"o"))
TWO_PAIRS = tuple(
    (f"whsk_{b64(seed * 32)}", f"whpk_{b64(SigningKey(seed * 32).verify_key.encode())}") for seed in (b"n", b"o")
)
FORM = b"CallSid=CA1&From=%2B14158675309&Body=Gr%C3%BC%C3%9Fe+%26+mehr"
HOUSE = {
    "header": "X-Sig",
    "algorithm": "sha512",
    "encoding": "base64",
    "prefix": "h ",
    "timestamp_header": "X-Time",
    "delivery_header": "X-Id",
}

SENDERS = (
    Sender("github", github, SAME, delivery_id="d-1"),
    Sender("stripe", stripe, (("whsec_a",) * 2, ("whsec_b",) * 2), window=300, delivery_id="d-1"),
    Sender("slack", slack, SAME, window=300, delivery_id="d-1"),
    Sender("shopify", shopify, SAME, delivery_id="d-1"),
    Sender("twilio", twilio, SAME, body=FORM),
    Sender("standard-webhooks", standard("webhook"), TWO_KEYS, window=300, delivery_id="d-1"),
    Sender("standard-webhooks", standard("webhook"), TWO_PAIRS, window=300, delivery_id="d-1"),
    Sender("svix", standard("svix"), TWO_KEYS, window=300, delivery_id="d-1"),
    Sender("gitlab", token("X-Gitlab-Token", **{"X-Gitlab-Event-UUID": "d-1"}), SAME, delivery_id="d-1", token=True),
    Sender("linear", linear, SAME, window=60, delivery_id="d-1"),
    Sender("zendesk", zendesk, SAME, window=300, delivery_id="d-1"),
    Sender("zendesk", zendesk, SAME, delivery_id="d-1", body=b"", options={"tolerance": 30}, window=30),
    Sender("hubspot", hubspot, SAME, window=300),
    Sender("intercom", intercom, SAME, delivery_id="d-1"),
    Sender("mailgun", mailgun, SAME, window=300, delivery_id="d-1", tampering_shows=False),
    Sender("sendgrid", sendgrid, (p256(3**140), p256(3**141)), window=300),
    Sender("discord", discord, (ed25519(b"n" * 32), ed25519(b"o" * 32)), window=300, delivery_id="d-1"),
    Sender("typeform", typeform, SAME, delivery_id="d-1"),
    Sender("calendly", calendly, SAME, window=180),
    Sender("square", square, SAME, delivery_id="d-1"),
    Sender("paddle", paddle, SAME, window=5, delivery_id="d-1"),
    Sender("paddle", paddle, SAME, window=120, delivery_id="d-1", options={"tolerance": "2m"}),
    Sender("lemonsqueezy", lemonsqueezy, SAME),
    Sender("telegram", token("X-Telegram-Bot-Api-Secret-Token"), SAME, delivery_id="d-1", token=True),
    Sender("zoom", zoom, SAME, window=300),
    Sender("meta", github, SAME, options={"verify_token": "meta-asks"}),
    Sender("hmac", house, SAME, options=HOUSE, window=300, delivery_id="d-1"),
    Sender("hmac", lemonsqueezy, SAME, options={"header": "X-Signature"}),
    Sender("basic", basic, (("ann:pw:1",) * 2, ("ann:0ld",) * 2), token=True),
    Sender("bearer", bearer, SAME, token=True),
    Sender("api-key", token("X-API-Key"), SAME, token=True),
    Sender("api-key", token("X-Own"), SAME, token=True, options={"header": "x-own"}),
    Sender(
        "custom",
        slack,
        SAME,
        options={
            "signature": "header:X-Slack-Signature",
            "prefix": "v0=",
            "signed": "v0:{header:X-Slack-Request-Timestamp}:{raw}",
            "delivery": "body:event_id",
        },
        delivery_id="d-1",
    ),
)
