"""The shipped signer makes what the vendors make."""

import json
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from senders import NOW, PUBLIC_URL, SENDERS, SENT_URL, Sender

from connectors.webhooks import build_scheme, sign, verify

KEYS_OF_ITS_OWN_FORM = {"sendgrid"}  # senders.py holds that private key as a number


@pytest.mark.parametrize("sender", [s for s in SENDERS if s.name not in KEYS_OF_ITS_OWN_FORM], ids=lambda s: s.name)
def test_what_is_signed_is_let_in(sender: Sender):
    scheme = build_scheme(sender.name, sender.options)
    secret = sender.secrets[0][0]
    if secret.startswith("whsk_"):
        scheme, secret = scheme.variants[0], secret.removeprefix("whsk_")
    signed = sign(
        scheme,
        secret,
        sender.body,
        NOW,
        url=SENT_URL,
        headers={
            "Content-Type": "application/x-www-form-urlencoded",  # Twilio's
            "X-Slack-Request-Timestamp": "1772366400",  # of the custom scheme, which signs a header by its name
        },
        delivery_id="d-1" if sender.delivery_id else None,
    )
    verified = verify(scheme, signed, [sender.held()], NOW, PUBLIC_URL)
    assert verified.delivery_id == sender.delivery_id


@pytest.mark.parametrize("name", ["github", "stripe", "slack", "shopify", "zendesk", "hubspot", "discord", "paddle"])
def test_the_headers_are_the_vendors(name: str):
    sender = next(sender for sender in SENDERS if sender.name == name)
    scheme = build_scheme(name)
    genuine = sender.deliver()
    header_id = "d-1" if any(source.startswith("header:") for source in scheme.delivery) else None
    signed = sign(scheme, sender.secrets[0][0], sender.body, NOW, url=SENT_URL, delivery_id=header_id)
    expected = {key.lower(): value.removesuffix(b",v0=6ffbb59b") for key, value in genuine.headers}
    assert {key.lower(): value for key, value in signed.headers} == expected


def test_an_ecdsa_scheme_is_signed_with_the_private_key():
    private = ec.generate_private_key(ec.SECP256R1())
    key = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    scheme = build_scheme("sendgrid")
    signed = sign(scheme, b64encode(key).decode(), b"[]", NOW)
    assert verify(scheme, signed, [b64encode(public).decode()], NOW).signature_hash


def test_two_deliveries_have_two_ids():
    first, second = (sign(build_scheme("github"), "s3cret", b"{}", NOW).header("X-GitHub-Delivery") for _ in range(2))
    assert first != second


def test_a_signature_in_the_body_leaves_the_rest_of_it():
    signed = sign(build_scheme("mailgun"), "s3cret", b'{"event-data": {"id": 1}}', NOW)
    assert json.loads(signed.body)["event-data"] == {"id": 1}
