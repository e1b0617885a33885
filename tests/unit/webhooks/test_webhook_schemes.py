"""Every scheme against its sender: what is let in, what is not, and how a delivery is known again."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from senders import NOW, PUBLIC_URL, SENDERS, Sender, delivery

from connectors.webhooks import Delivery, Scheme, Verified, build_scheme, scheme_names, secret_headers, verify
from foundation.errors import VerificationFailed

every_sender = pytest.mark.parametrize("sender", SENDERS, ids=lambda s: f"{s.name}-{s.send.__name__}")
timed_senders = pytest.mark.parametrize("sender", [s for s in SENDERS if s.window], ids=lambda s: s.name)
header_senders = pytest.mark.parametrize("sender", [s for s in SENDERS if s.deliver().headers], ids=lambda s: s.name)
signing_senders = pytest.mark.parametrize("sender", [s for s in SENDERS if not s.token], ids=lambda s: s.name)


def scheme_of(sender: Sender) -> Scheme:
    return build_scheme(sender.name, sender.options)


def receive(sender: Sender, delivery: Delivery, *secrets: str, now: datetime = NOW) -> Verified:
    return verify(scheme_of(sender), delivery, secrets or [sender.held()], now, PUBLIC_URL)


def refusal(sender: Sender, delivery: Delivery, *secrets: str, now: datetime = NOW) -> str:
    with pytest.raises(VerificationFailed) as failed:
        receive(sender, delivery, *secrets, now=now)
    message = str(failed.value)
    assert all(secret not in message for pair in sender.secrets for secret in pair)
    return failed.value.reason


def test_every_scheme_has_a_sender_here():
    assert {sender.name for sender in SENDERS} == set(scheme_names())


@every_sender
def test_a_genuine_delivery_is_let_in_with_its_id(sender: Sender):
    verified = receive(sender, sender.deliver())
    assert verified.delivery_id == sender.delivery_id
    assert verified.answer is None
    assert (verified.signature_hash is None) == sender.token


@every_sender
def test_another_secret_is_refused(sender: Sender):
    assert refusal(sender, sender.deliver(), sender.held(1)) == "mismatch"


@every_sender
def test_a_previous_secret_is_accepted_beside_the_current_one(sender: Sender):
    assert receive(sender, sender.deliver(1), sender.held(0), sender.held(1)).delivery_id == sender.delivery_id


@every_sender
def test_without_secrets_nothing_is_let_in(sender: Sender):
    with pytest.raises(VerificationFailed):
        verify(scheme_of(sender), sender.deliver(), [], NOW, PUBLIC_URL)


@every_sender
def test_an_empty_secret_lets_nothing_in(sender: Sender):
    with pytest.raises(VerificationFailed):
        receive(sender, sender.deliver(), "")


@signing_senders
def test_a_changed_body_is_refused_unless_the_vendor_does_not_sign_it(sender: Sender):
    genuine = sender.deliver()
    changed = replace(genuine, body=genuine.body.replace(b"d-1", b"d-2") + b" ")
    if sender.tampering_shows:
        assert refusal(sender, changed) == "mismatch"
    else:
        assert receive(sender, replace(genuine, body=genuine.body + b" ")).delivery_id == sender.delivery_id


@every_sender
def test_a_delivery_without_signature_is_refused(sender: Sender):
    assert refusal(sender, delivery({}, sender.body)) in ("missing", "malformed")


@header_senders
def test_a_signature_that_came_twice_is_refused(sender: Sender):
    genuine = sender.deliver()
    assert refusal(sender, replace(genuine, headers=[*genuine.headers, *genuine.headers])) == "malformed"


@timed_senders
@pytest.mark.parametrize("direction", [-1, 1])
def test_the_replay_window_is_open_to_its_edge_and_closed_beyond(sender: Sender, direction: int):
    at_the_edge = NOW + direction * timedelta(seconds=sender.window or 0)
    beyond = at_the_edge + direction * timedelta(seconds=1)
    assert receive(sender, sender.deliver(at=at_the_edge)).delivery_id == sender.delivery_id
    assert refusal(sender, sender.deliver(at=beyond)) == "stale"


@timed_senders
def test_a_forged_stale_delivery_is_called_forged(sender: Sender):
    assert refusal(sender, sender.deliver(1, at=NOW - timedelta(days=1))) == "mismatch"


@header_senders
@pytest.mark.parametrize(
    "garbage", [b"", b"\xff\xfe", "ü".encode(), b"=", b"sha256=zz", b"t=1,v1=", b"v1,!!", b"A" * 9]
)
def test_garbage_for_a_signature_is_refused(sender: Sender, garbage: bytes):
    genuine = sender.deliver()
    place = scheme_of(sender).signature.partition(":")[2].lower().encode()
    headers = [(key, garbage if key.lower() == place else value) for key, value in genuine.headers]
    assert refusal(sender, replace(genuine, headers=headers)) in ("missing", "malformed", "mismatch")


@signing_senders
def test_a_retry_is_known_again_by_what_it_signs_also_when_another_secret_signs_it(sender: Sender):
    first, retry = (receive(sender, sender.deliver(which), sender.held(0), sender.held(1)) for which in (0, 1))
    assert first.signature_hash == retry.signature_hash


@pytest.mark.parametrize(
    "sender", [s for s in SENDERS if not s.token and s.tampering_shows and b"d-1" in s.body], ids=lambda s: s.name
)
def test_another_body_is_another_delivery(sender: Sender):
    other = sender.deliver(body=sender.body.replace(b"d-1", b"d-2"))
    assert receive(sender, other).signature_hash != receive(sender, sender.deliver()).signature_hash


@header_senders
def test_the_header_with_the_signature_or_the_secret_is_named(sender: Sender):
    place = scheme_of(sender).signature.partition(":")[2].lower()
    assert place in secret_headers(scheme_of(sender))


@every_sender
def test_the_header_that_is_the_secret_is_named(sender: Sender):
    secret = sender.secrets[0][0]
    carriers = {key.decode().lower() for key, value in sender.deliver().headers if secret.encode() in value}
    assert carriers <= secret_headers(scheme_of(sender))
    assert {"authorization", "cookie"} <= secret_headers(scheme_of(sender))
