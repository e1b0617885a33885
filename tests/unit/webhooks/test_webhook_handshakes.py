"""Questions by which a sender asks whether the hook is ours: answered, and never an event."""

import json
from dataclasses import replace

import pytest
from nacl.signing import SigningKey
from senders import NOW, delivery

from connectors.webhooks import Delivery, build_scheme, handshake_methods, sign, verify
from foundation.errors import VerificationFailed

SLACK, DISCORD = build_scheme("slack"), build_scheme("discord")
META = build_scheme("meta", {"verify_token": "meta-asks"})
SEED = b"d" * 32
PUBLIC = SigningKey(SEED).verify_key.encode().hex()


def test_slack_gets_its_challenge_back():
    body = b'{"type": "url_verification", "challenge": "3eZbrw1a"}'
    answer = verify(SLACK, sign(SLACK, "s3cret", body, NOW), ["s3cret"], NOW).answer
    assert answer
    assert (json.loads(answer.body), answer.content_type) == ({"challenge": "3eZbrw1a"}, "application/json")


def test_a_stranger_gets_no_challenge_back():
    body = b'{"type": "url_verification", "challenge": "3eZbrw1a"}'
    with pytest.raises(VerificationFailed):
        verify(SLACK, sign(SLACK, "guessed", body, NOW), ["s3cret"], NOW)


def test_discord_gets_its_pong():
    answer = verify(DISCORD, sign(DISCORD, SEED.hex(), b'{"type": 1, "id": "1"}', NOW), [PUBLIC], NOW).answer
    assert answer
    assert json.loads(answer.body) == {"type": 1}


def test_discord_is_refused_when_it_tries_a_false_signature():
    signed = sign(DISCORD, SEED.hex(), b'{"type": 1, "id": "1"}', NOW)
    with pytest.raises(VerificationFailed):
        verify(DISCORD, replace(signed, body=b'{"type": 1, "id": "2"}'), [PUBLIC], NOW)


def test_an_event_of_the_same_sender_is_no_handshake():
    verified = verify(DISCORD, sign(DISCORD, SEED.hex(), b'{"type": 2, "id": "9"}', NOW), [PUBLIC], NOW)
    assert (verified.answer, verified.delivery_id) == (None, "9")


def ask(query: str, method: str = "GET") -> Delivery:
    return delivery({}, b"", method=method, url=f"http://gateway/hooks/meta?{query}")


def test_meta_gets_its_challenge_as_plain_text():
    answer = verify(
        META, ask("hub.mode=subscribe&hub.verify_token=meta-asks&hub.challenge=115820"), ["s3cret"], NOW
    ).answer
    assert answer
    assert (answer.body, answer.content_type) == (b"115820", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    "query",
    [
        "hub.mode=subscribe&hub.verify_token=guessed&hub.challenge=1",
        "hub.mode=subscribe&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=meta-asks",
        "hub.mode=subscribe&hub.verify_token=meta-asks&hub.verify_token=x&hub.challenge=1",
        "%ff",
        "",
    ],
)
def test_a_question_that_meta_would_not_ask_is_refused(query: str):
    with pytest.raises(VerificationFailed):
        verify(META, ask(query), ["s3cret"], NOW)


def test_a_post_with_metas_question_is_an_unsigned_event():
    with pytest.raises(VerificationFailed):
        verify(META, ask("hub.mode=subscribe&hub.verify_token=meta-asks&hub.challenge=1", "POST"), ["s3cret"], NOW)


def test_the_gateway_learns_which_methods_questions_come_by():
    assert handshake_methods(META) == {"GET"}
    assert handshake_methods(SLACK) == {"POST"}
    assert handshake_methods(build_scheme("github")) == frozenset()
