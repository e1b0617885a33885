import base64
import html
import json
import logging
import re
import string
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.masking import MASK, Masker, MaskingFilter
from foundation.secret_forms import unescaped, unescaped_with_origin


def masker(*secrets: str) -> Masker:
    made = Masker()
    for secret in secrets:
        made.add(secret)
    return made


def test_a_known_secret_is_replaced_everywhere() -> None:
    assert masker("xoxb-1").mask("xoxb-1 and axoxb-1b") == f"{MASK} and a{MASK}b"


def test_text_stays_while_nothing_is_known() -> None:
    text = "anything"
    assert Masker().mask(text) is text


@pytest.mark.parametrize(
    "form",
    [
        lambda text: urllib.parse.quote(text, safe=""),
        lambda text: urllib.parse.quote_plus(text),
        lambda text: re.sub("%..", lambda escape: escape[0].lower(), urllib.parse.quote(text, safe="")),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
        lambda text: json.dumps(text),
        lambda text: json.dumps(text, ensure_ascii=False),
        repr,
    ],
)
def test_a_secret_is_known_in_the_forms_it_travels_in(form) -> None:
    secret = 'pä ss/w"ö\\rd\n+?>'
    masked = masker(secret).mask(f"before {form(secret)} after")
    assert masked.strip('"') != form(secret)
    assert masked.replace('"', "").replace("'", "").replace("=", "") == f"before {MASK} after"


def html_numbers(text: str, form: str) -> str:
    return "".join(f"&#{format(ord(character), form)};" for character in text)


def json_codes(text: str) -> str:
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


ESCAPES = [
    html.escape,
    lambda text: html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#039;"),
    lambda text: html_numbers(text, "d"),
    lambda text: html_numbers(text, "#x").replace("#0x", "#x"),
    lambda text: html_numbers(text, "#06X").replace("#0X", "#X"),
    lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    json_codes,
    lambda text: json_codes(text).upper().replace("\\U", "\\u"),
    lambda text: repr(text.encode())[2:-1],
    lambda text: urllib.parse.quote(text, safe=""),
    lambda text: urllib.parse.quote_plus(text),
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
]
AWKWARD = "pä s&s/w\"ö'<b>\\rd\n+?=>%41😀"


@pytest.mark.parametrize("outer", [str, *ESCAPES])
@pytest.mark.parametrize("inner", ESCAPES)
def test_a_secret_is_known_in_escapes_within_escapes(inner, outer) -> None:
    assert masker(AWKWARD).mask(f"before {outer(inner(AWKWARD))} after") == f"before {MASK} after"


@given(st.text(min_size=8), st.sampled_from(ESCAPES))
def test_no_secret_survives_an_escape(secret: str, escape) -> None:
    escaped = escape(f" {secret} ")
    masked = masker(secret).mask(f"before{escaped}after")
    assert MASK in masked
    assert escape(secret) not in masked


@given(st.text(alphabet='ab%&#x39;\\u0041"nquot+ \nä'))
def test_each_part_comes_from_a_part_of_the_text(text: str) -> None:
    plain, origin = unescaped_with_origin(text)
    assert plain == unescaped(text)
    places = [origin(at, at + 1) for at in range(len(plain))]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert places == sorted(places)
    assert all(origin(0, at + 1)[1] == end for at, (_, end) in enumerate(places))


def test_a_part_comes_from_its_escapes_and_nothing_else() -> None:
    text = r"caf%C3%A9 a\"b &amp;amp; c"
    plain, origin = unescaped_with_origin(text)
    assert plain == 'café a"b & c'

    def source(part: str) -> str:
        start, end = origin(plain.index(part), plain.index(part) + len(part))
        return text[start:end]

    assert [source(part) for part in ("é", 'a"b', '"b', "a", "&", "c")] == [
        "%C3%A9",
        r"a\"b",
        r"\"b",
        "a",
        "&amp;amp;",
        "c",
    ]


@pytest.mark.parametrize("spell", [bytes.hex, lambda content: content.hex().upper()])
def test_a_secret_is_known_in_hex(spell) -> None:
    assert masker("s3cret-ä").mask(f"0x{spell('s3cret-ä'.encode())}00") == f"0x{MASK}00"


@given(st.binary(max_size=9), st.text(min_size=5), st.binary(max_size=9), st.booleans())
def test_no_secret_survives_inside_a_longer_base64_text(before: bytes, secret: str, after: bytes, url: bool) -> None:
    encode, decode = (
        (base64.urlsafe_b64encode, base64.urlsafe_b64decode) if url else (base64.b64encode, base64.b64decode)
    )
    masked = masker(secret).mask(encode(before + secret.encode() + after).decode())
    assert MASK in masked
    for part in masked.split(MASK):
        for start in range(4):
            rest = part[start:].rstrip("=")
            assert secret.encode()[1:-1] not in decode(rest[: len(rest) // 4 * 4] or b"")


def test_a_token_is_known_in_a_basic_header_and_in_an_encoded_document() -> None:
    known = masker("s3cret-token")
    assert known.mask("Basic c29tZW9uZTpzM2NyZXQtdG9rZW4=") == f"Basic c29tZW9uZTp{MASK}="
    document = base64.b64encode(b'{"token": "s3cret-token", "n": 1}').decode()
    assert known.mask(document) == f"eyJ0b2tlbiI6ICJ{MASK}iLCAibiI6IDF9"


def test_a_short_secret_masks_no_words() -> None:
    text = " ".join(("1234 is masked; 12, 31 32, MTIz and the word is not", string.ascii_letters, string.digits[4:]))
    assert masker("1234", "\\t\\e\\s\\t").mask(text) == text.replace("1234", MASK)


def test_a_forgotten_secret_is_not_masked() -> None:
    known = masker("s3cret-1", "s3cret-2")
    known.forget("s3cret-1")
    assert known.mask("s3cret-1 s3cret-2 " + b"s3cret-1".hex()) == f"s3cret-1 {MASK} {b's3cret-1'.hex()}"
    known.forget("s3cret-2")
    known.forget("never known")
    assert known.mask("s3cret-2") == "s3cret-2"
    assert repr(known) == "Masker(0 secrets)"
    known.add("s3cret-2")
    assert known.mask("s3cret-2") == MASK


def test_what_several_have_is_forgotten_with_the_last() -> None:
    known = masker("shared-1", "shared-1")
    first, second = type("Holder", (), {})(), type("Holder", (), {})()
    for holder in (first, first, second):
        known.add("shared-1", holder=holder)
    known.add("own-1", holder=first)
    known.forget("shared-1")
    known.forget("shared-1")
    known.release(first)
    assert known.mask("shared-1 own-1") == f"{MASK} own-1"
    known.release(first)
    known.release(second)
    assert known.mask("shared-1") == "shared-1"


def test_a_form_that_two_secrets_have_stays_with_one() -> None:
    secret, in_hex = "s3cret-1", b"s3cret-1".hex()
    known = masker(secret, in_hex)
    known.forget(in_hex)
    assert known.mask(in_hex) == MASK


def test_many_secrets_come_and_go() -> None:
    known = Masker()
    for number in range(1500):
        known.add(f"s3cret-{number}-x")
        if number % 50 == 0:
            assert known.mask(f"s3cret-0-x s3cret-{number}-x").split() == [MASK, MASK]
    for number in range(1, 1500):
        known.forget(f"s3cret-{number}-x")
    known.add("the-last-1")
    assert known.mask("s3cret-0-x s3cret-7-x the-last-1") == f"{MASK} s3cret-7-x {MASK}"


def test_many_threads_may_use_a_masker() -> None:
    known = Masker()

    def come_and_go(thread: int) -> None:
        for number in range(100):
            secret = f"s3cret-{thread}-{number}-x"
            known.add(secret)
            assert known.mask(f"it is {secret}") == f"it is {MASK}"
            known.forget(secret)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(4)))
    assert repr(known) == "Masker(0 secrets)"


@given(st.text(min_size=4), st.text(), st.text())
def test_no_secret_survives_whatever_surrounds_it(secret: str, before: str, after: str) -> None:
    masked = masker(secret).mask(before + secret + after)
    assert MASK in masked
    assert all(secret not in rest for rest in masked.split(MASK))


def test_overlapping_secrets_leave_no_tail() -> None:
    assert masker("abcd-1", "d-1efgh").mask("xabcd-1efghx") == f"x{MASK}x"


def test_of_a_secret_inside_another_the_longer_is_masked() -> None:
    assert masker("token", "token-of-mine").mask("token-of-mine, token") == f"{MASK}, {MASK}"


def test_lines_of_a_long_secret_are_masked_alone_too() -> None:
    known = masker("-----BEGIN KEY-----\nMIIEpAIBAAKC\n}\n")
    assert known.mask("found MIIEpAIBAAKC }") == f"found {MASK} }}"


def test_what_is_too_short_is_left_alone() -> None:
    assert masker("abc", "").mask("abcabc") == "abcabc"


def test_json_is_masked_in_keys_values_and_lists() -> None:
    value = {"a": ["s3cret", 1, None, ("s3cret",)], "s3cret": {"b": "xs3cretx"}}
    assert masker("s3cret").mask_json(value) == {"a": [MASK, 1, None, [MASK]], MASK: {"b": f"x{MASK}x"}}


def test_a_masker_does_not_show_what_it_knows() -> None:
    assert repr(masker("s3cret", "other")) == "Masker(2 secrets)"


class Exploding:
    def __str__(self) -> str:
        return "carries s3cret"


@pytest.fixture
def logged():
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record) + "".join(str(getattr(record, name, "")) for name in ("url", "exc_info")))

    handler = Lines()
    handler.addFilter(MaskingFilter(masker("s3cret")))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, lines


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("it is s3cret", ()),
        ("it is %s", ("s3cret",)),
        ("it is %(key)s", ({"key": "s3cret"},)),
        ("it %s", (Exploding(),)),
        ("%s%s", ("s3c", "ret")),
    ],
)
def test_log_messages_are_masked_with_their_arguments(logged, message: str, arguments: tuple) -> None:
    logger, lines = logged
    logger.warning(message, *arguments)
    assert len(lines) == 1
    assert MASK in lines[0]
    assert "s3cret" not in lines[0]


def test_exceptions_stacks_and_extras_are_masked(logged) -> None:
    logger, lines = logged
    try:
        raise ValueError("no s3cret here")
    except ValueError:
        logger.exception("failed", extra={"url": "https://s3cret.test"}, stack_info=True)
    assert "s3cret" not in lines[0]
    assert f"ValueError: no {MASK} here" in lines[0]
    assert f"https://{MASK}.test" in lines[0]


def test_a_record_without_a_secret_keeps_its_exception_and_arguments() -> None:
    record = logging.makeLogRecord({"msg": "%d items", "args": (3,)})
    try:
        raise ValueError("plain")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    assert MaskingFilter(masker("s3cret")).filter(record)
    assert (record.args, record.exc_info and record.exc_info[0]) == ((3,), ValueError)


def test_a_wrong_format_is_masked_and_left_to_logging() -> None:
    record = logging.makeLogRecord({"msg": "%d s3cret", "args": ("s3cret",)})
    assert MaskingFilter(masker("s3cret")).filter(record)
    assert (record.msg, record.args) == (f"%d {MASK}", (MASK,))


def test_half_a_character_beside_a_secret_hides_nothing() -> None:
    masker = Masker()
    masker.add("secret-card")
    assert masker.mask("\ud800 secret-card \udfff") == f"\ud800 {MASK} \udfff"
