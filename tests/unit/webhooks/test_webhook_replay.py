"""A captured delivery, sent again with whatever can be changed about it."""

import json
from dataclasses import replace
from urllib.parse import quote

import pytest
from senders import FORM, NOW, PUBLIC_URL, SENDERS, Sender, b64, delivery, digest, millis, seconds

from connectors.webhooks import PRESETS, Delivery, Scheme, build_scheme, verify
from connectors.webhooks.scheme import has_firm_borders
from foundation.errors import DefinitionError, VerificationFailed

CENTURY = 100 * 365 * 86_400


def sender(name: str) -> Sender:
    return next(sender for sender in SENDERS if sender.name == name)


def refusal(scheme: Scheme, sent: Delivery, secret: str) -> str:
    with pytest.raises(VerificationFailed) as failed:
        verify(scheme, sent, [secret], NOW, PUBLIC_URL)
    return failed.value.reason


def with_header(sent: Delivery, source: str, value: bytes) -> list[tuple[bytes, bytes]]:
    name = source.removeprefix("header:").lower().encode()
    return [(key, value if key.lower() == name else old) for key, old in sent.headers]


@pytest.mark.parametrize("name", ["zendesk", "discord", "sendgrid"])
@pytest.mark.parametrize("body", [b"1234567890", b"0000000000", b'{"id": "1"}', b":00Z", b"+01:00", b".5Z"])
@pytest.mark.parametrize("tolerance", [300, CENTURY])
def test_the_border_between_timestamp_and_body_can_not_move(name: str, body: bytes, tolerance: int):
    """Timestamp and body are signed without anything between them."""
    scheme = build_scheme(name, {"tolerance": tolerance})
    genuine = sender(name).deliver(body=body)
    place = scheme.timestamp or ""
    signed_text = (genuine.header(place.removeprefix("header:")) or b"") + body
    border = len(signed_text) - len(body)
    assert verify(scheme, genuine, [sender(name).held()], NOW).signature_hash
    for elsewhere in range(len(signed_text) + 1):
        moved = replace(
            genuine, body=signed_text[elsewhere:], headers=with_header(genuine, place, signed_text[:elsewhere])
        )
        if elsewhere != border:
            assert refusal(scheme, moved, sender(name).held()) in ("missing", "malformed", "mismatch")


@pytest.mark.parametrize("tolerance", [300, CENTURY])
def test_the_border_between_mailguns_timestamp_and_token_can_not_move(tolerance: int):
    """Else one signature would be good for several tokens."""
    scheme, text = build_scheme("mailgun", {"tolerance": tolerance}), seconds(NOW) + "0123"
    signature = digest("s3cret", text.encode()).hex()
    for border in range(len(text)):
        proof = {"timestamp": text[:border], "token": text[border:], "signature": signature}
        sent = delivery({}, json.dumps({"signature": proof}).encode())
        if border == len(seconds(NOW)):
            assert verify(scheme, sent, ["s3cret"], NOW).delivery_id == "0123"
        else:
            assert refusal(scheme, sent, "s3cret") in ("missing", "malformed")


def test_the_border_between_body_and_timestamp_can_not_move_either():
    """HubSpot signs the timestamp last: a body that ends with digits must keep them."""
    hubspot, body = build_scheme("hubspot", {"tolerance": CENTURY}), b"[10"
    genuine = sender("hubspot").deliver(body=body)
    assert verify(hubspot, genuine, ["s3cret"], NOW, PUBLIC_URL).signature_hash
    for count in (1, 2):
        timestamp = body[-count:] + millis(NOW).encode()
        moved = replace(genuine, body=body[:-count], headers=with_header(genuine, hubspot.timestamp or "", timestamp))
        assert refusal(hubspot, moved, "s3cret") == "malformed"


UNTIMED = {"signature": "header:X-S", "signed": "{timestamp}.{raw}", "timestamp": "header:X-T"}


@pytest.mark.parametrize(
    "timestamp",
    ["soon", "-1772366400", "01772366400", "177236640", "17723664000", "1772366400.0", "1.772366400e9", "\u0661" * 10],
)
def test_a_timestamp_is_one_even_where_its_age_does_not_count(timestamp: str):
    scheme = build_scheme("custom", UNTIMED)
    text = timestamp.encode().decode("latin-1")
    sent = delivery({"X-S": digest("s3cret", timestamp.encode() + b".{}").hex(), "X-T": text}, b"{}")
    assert refusal(scheme, sent, "s3cret") == "malformed"


def test_without_a_window_an_old_timestamp_is_a_timestamp():
    sent = delivery({"X-S": digest("s3cret", b"1500000000.{}").hex(), "X-T": "1500000000"}, b"{}")
    assert verify(build_scheme("custom", UNTIMED), sent, ["s3cret"], NOW).signature_hash


@pytest.mark.parametrize("sent_id", ["msg.1", ".", "msg_1.1772366400"])
def test_an_id_does_not_hold_what_ends_it(sent_id: str):
    """`msg.1772366400.17…`: where does the id end, and where does the body begin?"""
    scheme, secret = build_scheme("standard-webhooks"), "whsec_" + "bm5u" * 8
    signed = f"{sent_id}.{seconds(NOW)}.".encode() + b"{}"
    signature = digest(b"nnn" * 8, signed)
    headers = {
        "webhook-id": sent_id,
        "webhook-timestamp": seconds(NOW),
        "webhook-signature": "v1," + b64(signature),
    }
    assert refusal(scheme, delivery(headers, b"{}"), secret) == "malformed"


@pytest.mark.parametrize(
    ("signed", "firm"),
    [
        ("{raw}", True),
        ("{timestamp}{raw}", True),
        ("{raw}{timestamp}", True),
        ("{timestamp}{delivery}", True),
        ("{delivery}.{timestamp}.{raw}", True),
        ("v0:{timestamp}:{raw}", True),
        ("{method}:{header:X-Nonce}:{raw}", True),
        ("{delivery}{raw}", False),
        ("{raw}.{delivery}", False),
        ("{url}{raw}", False),
        ("{url}.{raw}", False),
        ("{header:X-A}{header:X-B}:{raw}", False),
    ],
)
def test_it_is_known_which_signed_texts_can_be_cut_in_one_way_only(signed: str, firm: bool):
    assert has_firm_borders(signed) == firm


def test_it_is_known_whose_id_is_signed():
    """Of all others, what is signed counts as well: an id that isn't can be set anew by whoever sends again."""
    signed = {name for name, scheme in PRESETS.items() if scheme.signs_delivery_id}
    assert signed == {
        *("discord", "intercom", "mailgun", "paddle", "slack"),
        *("standard-webhooks", "stripe", "svix", "typeform"),
    }
    assert [name for name, scheme in PRESETS.items() if scheme.spends_delivery_id] == ["mailgun"]


@pytest.mark.parametrize(
    ("delivery_places", "signed", "covered"),
    [
        ("body:id", "{raw}", True),
        ("header:X-Id", "{raw}", False),
        ("header:X-Id", "{header:X-Id}.{raw}", True),
        ("header:X-Id", "{delivery}.{raw}", True),
        (["header:X-Id", "body:id"], "{raw}", False),
        ("body:id", ["{raw}", "{header:X-Body-Hash}.{raw}"], True),
        ("body:id", ["{raw}", "{url}{raw}"], False),
        ("query:id", "{url}", False),
    ],
)
def test_whether_a_custom_schemes_id_is_signed_follows_from_what_is_signed(
    delivery_places: object, signed: object, covered: bool
):
    options = {"signature": "header:X-S", "delivery": delivery_places, "signed": signed}
    if signed == "{url}":
        options["signed"] = "{url}{raw}"
    assert build_scheme("custom", options).signs_delivery_id == covered


@pytest.mark.parametrize(
    "respelled",
    [
        FORM.replace(b"+", b"%20"),
        FORM.replace(b"%C3%BC", b"%c3%bc"),
        FORM.replace(b"CallSid", b"%43allSid"),
        b"&".join(reversed(FORM.split(b"&"))),
        FORM.replace(b"CallSid=CA1", b"CallSidC=A1"),
    ],
)
def test_a_form_that_is_spelled_otherwise_is_the_same_delivery(respelled: bytes):
    """Twilio signs what the form says, run together, not how it is written."""
    twilio, genuine = build_scheme("twilio"), sender("twilio").deliver()
    again = replace(genuine, body=respelled)
    first, second = (verify(twilio, each, ["s3cret"], NOW, PUBLIC_URL) for each in (genuine, again))
    assert first.signature_hash == second.signature_hash


def test_an_url_that_is_spelled_otherwise_is_the_same_delivery():
    """HubSpot signs the URL with some of its escapes undone."""
    hubspot, genuine = build_scheme("hubspot"), sender("hubspot").deliver()
    again = replace(genuine, url=genuine.url.replace("a%3Ab", f"a{quote(':').lower()}b"))
    assert again.url != genuine.url
    first, second = (verify(hubspot, each, ["s3cret"], NOW, PUBLIC_URL) for each in (genuine, again))
    assert first.signature_hash == second.signature_hash


def test_replay_can_be_allowed_for_a_sender_that_signs():
    needed = {"hmac": {"header": "X-S"}, "meta": {"verify_token": "t"}, "custom": {"signature": "header:X-S"}}
    for name in ("github", "stripe", "mailgun", *needed):
        scheme = build_scheme(name, {**needed.get(name, {}), "replay": "allow"})
        assert (scheme.name, scheme.replay) == (name, "allow")
        assert build_scheme(name, needed.get(name)).replay == "refuse"
    assert build_scheme("stripe", {"replay": "allow", "tolerance": "1h"}).tolerance == 3600


@pytest.mark.parametrize("value", ["allowed", "yes", True, None, 1, ["allow"]])
@pytest.mark.parametrize("name", ["github", "custom", "stripe"])
def test_another_word_for_replay_is_refused(name: str, value: object):
    options = {"signature": "header:X-S"} if name == "custom" else {}
    with pytest.raises(DefinitionError, match=r"^auth: replay: input should be 'refuse' or 'allow'$"):
        build_scheme(name, {**options, "replay": value})


@pytest.mark.parametrize("name", ["gitlab", "telegram", "basic", "bearer", "api-key"])
def test_replay_is_refused_where_nothing_is_signed(name: str):
    with pytest.raises(DefinitionError, match=f"{name} sends its secret along and signs nothing"):
        build_scheme(name, {"replay": "allow"})
