"""Signatures that vendors publish, and those that their own libraries make: independent of anything of ours."""

import hashlib
import hmac
import time
from base64 import b64encode
from datetime import UTC, datetime

import pytest
import stripe
from nacl.signing import SigningKey
from senders import delivery
from slack_sdk.signature import SignatureVerifier
from standardwebhooks import Webhook

from connectors.webhooks import build_scheme, sign, verify

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_github_documentation():
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    sent = delivery({"X-Hub-Signature-256": signature}, b"Hello, World!")
    assert verify(build_scheme("github"), sent, ["It's a Secret to Everybody"], NOW).signature_hash


def test_slack_documentation():
    # https://docs.slack.dev/authentication/verifying-requests-from-slack
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        "X-Slack-Request-Timestamp": "1531420618",
    }
    verified = verify(
        build_scheme("slack"), delivery(headers, body), ["8f742231b10e8888abcd99yyyzzz85a5"], at(1531420618)
    )
    assert verified.delivery_id is None  # a command is a form: it has no event_id
    assert verified.signature_hash


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        ("https://mycompany.com/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com:1234/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com/myapp.php?foo=1&bar=2", "kvajT1Ptam85bY51eRf/AJRuM3w="),
        ("http://mycompany.com/myapp.php?foo=1&bar=2", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        ("http://mycompany.com:1234/myapp.php?foo=1&bar=2", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
    ],
)
def test_twilio_library_forms_with_and_without_port(url: str, signature: str):
    # github.com/twilio/twilio-python, tests/unit/test_request_validator.py
    body = b"Digits=1234&To=%2B18005551212&From=%2B14158675309&Caller=%2B14158675309&CallSid=CA1234567890ABCDE"
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    assert verify(build_scheme("twilio"), delivery(headers, body, url=url), ["12345"], NOW).signature_hash


def test_twilio_library_repeated_form_fields():
    headers = {
        "X-Twilio-Signature": "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    sent = delivery(
        headers,
        b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234",
        url="https://mycompany.com/myapp.php?foo=1&bar=2",
    )
    assert verify(build_scheme("twilio"), sent, ["12345"], NOW).signature_hash


def test_twilio_library_json():
    url = (
        "https://mycompany.com/myapp.php?foo=1&bar=2"
        "&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    )
    headers = {"X-Twilio-Signature": "a9nBmqA0ju/hNViExpshrM61xv4=", "Content-Type": "application/json"}
    sent = delivery(headers, b'{"property": "value", "boolean": true}', url=url)
    assert verify(build_scheme("twilio"), sent, ["12345"], NOW).signature_hash


def test_sendgrid_library():
    # github.com/sendgrid/sendgrid-python, test/unit/test_eventwebhook.py
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpigl"
        "SI8eNEc6wEA3F+g=="
    )
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": (
            "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
        ),
        "X-Twilio-Email-Event-Webhook-Timestamp": "1600112502",
    }
    body = (
        b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
        b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
        b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
        b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
    )
    assert verify(build_scheme("sendgrid"), delivery(headers, body), [key], at(1600112502)).signature_hash


def test_square_library():
    # github.com/square/square-python-sdk, tests/integration/test_webhooks_helper.py
    body = (
        b'{"merchant_id":"MLEFBHHSJGVHD","type":"webhooks.test_notification",'
        b'"event_id":"ac3ac95b-f97d-458c-a6e6-18981597e05f","created_at":"2022-07-13T20:30:59.037339943Z",'
        b'"data":{"type":"webhooks","id":"bc368e64-01aa-407e-b46e-3231809b1129"}}'
    )
    headers = {"x-square-hmacsha256-signature": "GF4YkrJgGBDZ9NIYbNXBnMzqb2HoL4RW/S6vkZ9/2N4="}
    sent = delivery(headers, body, url="http://gateway:8080/679a4f3a-dcfa-49ee-bac5-9d0edad886b9")
    verified = verify(build_scheme("square"), sent, ["Ibxx_5AKakO-3qeNVR61Dw"], NOW, "https://webhook.site/")
    assert verified.delivery_id == "ac3ac95b-f97d-458c-a6e6-18981597e05f"


def test_hubspot_library():
    # github.com/HubSpot/hubspot-api-python, tests/spec/utils/test_signature.py
    headers = {
        "X-HubSpot-Signature-v3": "HPW73RUtKmcYoEDADG0s6MmGFWUzWJKAW07r8RDgcQw=",
        "X-HubSpot-Request-Timestamp": "15000000",
    }
    sent = delivery(headers, b"{'example_field':'example_value'}", url="https://www.example.com/webhook_uri")
    secrets = ["yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"]
    assert verify(build_scheme("hubspot"), sent, secrets, at(15000)).signature_hash


def test_paddle_library_with_several_signatures_and_secrets():
    # github.com/PaddleHQ/paddle-python-sdk, tests/Unit/Notification/test_Verifier.py
    signature = "ts=1696195954;h1=dummy;h1=d96299976a6eb066f484d7fde011ac56fc32b38fc9940bc419d6e537fdc6ef02"
    secrets = [
        "pdl_ntf_01hbpjmytsa32fhr36nqgc3kgb_TjIG2BXbm83HPXqNfziwe506sBEdqL/4",
        "pdl_ntf_01hbpjmytsa32fhr36nqgc3kgb_vB/yIOnTOCWIvpBadM5jzBZPHc7OmdSo",
        "pdl_ntf_01hbpjmytsa32fhr36nqgc3kgb_WvRO0eL4Bj9rgYYIBZY6wZhG4EHy9jzh",
    ]
    sent = delivery({"Paddle-Signature": signature}, b"hello-world")
    assert verify(build_scheme("paddle"), sent, secrets, at(1696195954)).signature_hash


def test_svix_documentation():
    # https://docs.svix.com/receiving/verifying-payloads/how-manual
    headers = {
        "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "svix-timestamp": "1614265330",
        "svix-signature": (
            "v1,bm9ldHUjKzFob2VudXRob2VodWUzMjRvdWVvdW9ldQo= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        ),
    }
    sent = delivery(headers, b'{"test": 2432232314}')
    verified = verify(build_scheme("svix"), sent, ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], at(1614265330))
    assert verified.delivery_id == "msg_p5jXN8AQM9LWM0D4loKWxJek"


BODY = '{"id": "evt_1", "name": "Grüße"}'
KEY = "whsec_" + b64encode(b"k" * 24).decode()


def test_standard_webhooks_library_signs_what_we_verify():
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": Webhook(KEY).sign("msg_1", NOW, BODY),
    }
    assert (
        verify(build_scheme("standard-webhooks"), delivery(headers, BODY.encode()), [KEY], NOW).delivery_id == "msg_1"
    )


def test_standard_webhooks_library_verifies_what_we_sign():
    signed = sign(build_scheme("standard-webhooks"), KEY, BODY.encode(), datetime.now(UTC), delivery_id="msg_1")
    headers = {key.decode(): value.decode() for key, value in signed.headers}
    assert Webhook(KEY).verify(BODY, headers) == {"id": "evt_1", "name": "Grüße"}


def test_stripe_library_signs_what_we_verify():
    payload = f"{int(NOW.timestamp())}.{BODY}"
    signature = stripe.WebhookSignature._compute_signature(payload, "whsec_x")
    headers = {"Stripe-Signature": f"t={int(NOW.timestamp())},v1={signature}"}
    assert verify(build_scheme("stripe"), delivery(headers, BODY.encode()), ["whsec_x"], NOW).delivery_id == "evt_1"


def test_stripe_library_verifies_what_we_sign():
    signed = sign(build_scheme("stripe"), "whsec_x", BODY.encode(), datetime.now(UTC))
    header = signed.header("Stripe-Signature")
    assert header
    assert stripe.WebhookSignature.verify_header(BODY, header.decode(), "whsec_x", tolerance=300)


def test_slack_library_signs_what_we_verify_and_verifies_what_we_sign():
    verifier, ts = SignatureVerifier("s3cret"), str(int(time.time()))
    theirs = verifier.generate_signature(timestamp=ts, body=BODY)
    assert theirs
    sent = delivery({"X-Slack-Signature": theirs, "X-Slack-Request-Timestamp": ts}, BODY.encode())
    assert verify(build_scheme("slack"), sent, ["s3cret"], at(int(ts))).signature_hash
    ours = sign(build_scheme("slack"), "s3cret", BODY.encode(), datetime.now(UTC))
    assert verifier.is_valid_request(BODY, {key.decode(): value.decode() for key, value in ours.headers})


def test_libsodium_verifies_what_we_sign_for_discord():
    seed = b"d" * 32
    signed = sign(build_scheme("discord"), seed.hex(), BODY.encode(), NOW)
    signature, ts = signed.header("X-Signature-Ed25519"), signed.header("X-Signature-Timestamp")
    assert signature
    assert ts
    assert SigningKey(seed).verify_key.verify(ts + BODY.encode(), bytes.fromhex(signature.decode()))


def test_zoom_url_validation_token():
    # https://developers.zoom.us/docs/api/webhooks/#validate-your-webhook-endpoint
    body = b'{"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}'
    scheme = build_scheme("zoom")
    answer = verify(scheme, sign(scheme, "s3cret", body, NOW), ["not yet known to zoom", "s3cret"], NOW).answer
    expected = hmac.new(b"s3cret", b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
    assert answer
    assert answer.body == b'{"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": "%s"}' % expected.encode()
