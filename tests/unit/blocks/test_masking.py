import base64
import json
import logging
import re
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.masking import MASK, Masker, MaskingFilter


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
