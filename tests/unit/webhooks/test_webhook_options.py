"""A webhook's `auth` as authors write it."""

import pytest

from blocks import ApiKey, BasicAuth, BearerToken, Keyring, WebhookSecret
from connectors.slack import SlackCredential
from connectors.webhooks import PRESETS, accepted_secrets, build_scheme, credential_types, scheme_names
from foundation.errors import CredentialError, DefinitionError

CUSTOM = {
    "signature": "header:X-Acme-Signature",
    "separator": ",",
    "prefix": "s=",
    "encoding": "base64",
    "algorithm": "sha512",
    "signed": "{method}:{timestamp}:{raw}",
    "timestamp": "field:t",
    "tolerance": "2m",
    "delivery": ["header:X-Acme-Id", "body:event.id"],
    "handshake": {"when": {"body:kind": "ping"}, "answer": {"pong": "body:nonce"}},
}

ORACLE = {"signed": False, "when": {"body:kind": "ping"}, "answer": {"pong": "hmac:body:nonce"}}


def test_all_names_can_be_built_with_what_they_need():
    needed = {"hmac": {"header": "X-S"}, "meta": {"verify_token": "t"}, "custom": CUSTOM}
    assert {name: build_scheme(name, needed.get(name)).name for name in scheme_names()} == {
        name: name for name in scheme_names()
    }


def test_names_are_sorted_and_none_is_not_among_them():
    assert list(scheme_names()) == sorted(scheme_names())
    assert "none" not in scheme_names()


def test_hmac_defaults_are_the_contracts():
    scheme = build_scheme("hmac", {"header": "X-S"})
    assert (scheme.algorithm, scheme.encoding, scheme.prefix, scheme.signed) == ("sha256", "hex", "", ("{raw}",))
    assert (scheme.timestamp, scheme.tolerance) == (None, None)


def test_hmac_with_a_timestamp_signs_it_and_has_a_window():
    scheme = build_scheme("hmac", {"header": "X-S", "timestamp_header": "X-T"})
    assert (scheme.signed, scheme.timestamp, scheme.tolerance) == (("{timestamp}.{raw}",), "header:X-T", 300)


@pytest.mark.parametrize(
    ("written", "seconds"), [(90, 90), (0.5, 0.5), ("500ms", 0.5), ("5m", 300), ("2h", 7200), ("1d", 86400)]
)
def test_a_tolerance_is_a_duration(written: object, seconds: float):
    assert build_scheme("stripe", {"tolerance": written}).tolerance == seconds
    assert PRESETS["stripe"].tolerance == 300


def test_a_custom_scheme_is_a_record_in_yaml():
    scheme = build_scheme("custom", CUSTOM)
    assert scheme.tolerance == 120
    assert scheme.delivery == ("header:X-Acme-Id", "body:event.id")
    assert scheme.handshake
    assert scheme.handshake.answer == {"pong": "body:nonce"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("githb", {}, "auth: unknown scheme 'githb'; did you mean 'github'?"),
        ("none", {}, "auth: unknown scheme 'none'"),
        ("stripe", {"tolerence": 5}, "auth: the scheme stripe has no option 'tolerence'; did you mean 'tolerance'?"),
        ("github", {"tolerance": 5}, "auth: the scheme github has no option 'tolerance'; it takes none"),
        ("basic", {"realm": "x"}, "auth: the scheme basic has no option 'realm'; it takes none"),
        ("hmac", {}, "auth: the scheme hmac needs the option 'header'"),
        ("meta", {}, "auth: the scheme meta needs the option 'verify_token'"),
        ("hmac", {"header": "X-S", "algorithm": "md5"}, "auth: algorithm: input should be 'sha1'"),
        ("hmac", {"header": "X S"}, "auth: header: "),
        ("hmac", {"header": "X-S", "tolerance": 5}, "a tolerance needs a timestamp"),
        ("hmac", {"header": "X-S", "signed": "{timestamp}{raw}"}, "timestamp does not say where it is"),
        ("hmac", {"header": "X-S", "signed": "{row}"}, "{row} is not known in a signed text; known are "),
        ("hmac", {"header": "X-S", "signed": "{raw"}, "unmatched brace"),
        ("hmac", {"header": "X-S", "signed": "{url}"}, "signed must cover {raw}"),
        ("stripe", {"tolerance": 0}, "auth: tolerance: input should be greater than 0"),
        ("stripe", {"tolerance": "soon"}, "auth: tolerance: "),
        ("stripe", {"tolerance": float("nan")}, "auth: tolerance: "),
        ("custom", {}, "auth: the scheme custom needs the option 'signature'"),
        ("custom", {"signature": "X-S"}, "auth: signature: 'X-S' is not a source; write one of header:NAME"),
        ("custom", {"signature": "header:X-S", "signed": []}, "auth: signed: "),
        ("custom", {"signature": "header:X-S", "signed": "{delivery}"}, "delivery does not say the one place"),
        ("custom", {"signature": "body:token", "style": "token"}, "a token must be in a header"),
        ("custom", {"signature": "header:X-S", "encoding": "text"}, "the encoding text is for tokens"),
        ("custom", {"signature": "header:X-S", "style": "ed25519"}, "set key"),
        ("custom", {"signature": "header:X-S", "timestamp": "field:t"}, "needs a separator"),
        ("custom", {"signature": "header:X-S", "separator": ""}, "auth: separator: "),
        ("custom", {"signature": "field:v1"}, "signature can't be a field of itself"),
        ("custom", {"signature": "header:X-S", "signed": "{header}{raw}"}, "{header} is not known"),
        ("custom", {"signature": "header:X-S", "signed": "{field:t}{raw}"}, "needs a separator"),
        ("custom", {"signature": "header:X", "handshake": {"when": {"x": 1}, "answer": "body:a"}}, "is not a source"),
        ("custom", {"signature": "header:X", "handshake": {"when": {}, "answer": "body:a"}}, "at least 1 item"),
        ("custom", {"signature": "header:X", "handshake": {"when": {"body:a": 1}, "answer": {"a": "b"}}}, "'b' is not"),
        ("custom", {"signature": "header:X", "handshake": ORACLE}, "anyone could have anything signed"),
        ("hmac", {"header": "X-S", "timestamp_header": "X-T", "signed": "{raw}"}, "a timestamp that is signed"),
        ("custom", {"signature": "header:X-S", "timestamp": "header:X-T", "tolerance": 9}, "that is signed"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_with_what_is_right(name: str, options: dict[str, object], message: str):
    with pytest.raises(DefinitionError) as failed:
        build_scheme(name, options)
    assert message in str(failed.value)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("basic", ("basic",)),
        ("bearer", ("bearer",)),
        ("api-key", ("api-key",)),
        ("github", ("webhook-secret",)),
        ("gitlab", ("webhook-secret",)),
    ],
)
def test_each_scheme_names_the_credential_it_takes(name: str, types: tuple[str, ...]):
    assert credential_types(build_scheme(name)) == types


@pytest.mark.parametrize(
    ("kind", "values", "secrets"),
    [
        (WebhookSecret, {"secret": "new", "previous": ["old"]}, ("new", "old")),
        (BearerToken, {"token": "new", "previous": ["old"]}, ("new", "old")),
        (ApiKey, {"key": "new"}, ("new",)),
        (BasicAuth, {"username": "ann", "password": "new", "previous": ["old"]}, ("ann:new", "ann:old")),
    ],
)
def test_a_credential_gives_the_secrets_it_accepts(kind, values, secrets):
    assert accepted_secrets(kind.from_values(values, keyring=Keyring.generate())) == secrets


def test_a_credential_for_calling_out_can_not_verify_senders():
    credential = SlackCredential.from_values({"token": "xoxb-1"}, keyring=Keyring.generate())
    with pytest.raises(CredentialError, match="a credential of type slack can't verify senders"):
        accepted_secrets(credential)
