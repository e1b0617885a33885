"""In pieces, a text says what it says as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foundation import large_json

PIECES = (1, 2, 3, 7, 64)


@contextmanager
def in_pieces_of(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "PIECE", size)
        yield


def standard(text: str) -> Any:
    """The value, or the kind of fault."""
    try:
        return large_json.STRICT.decode(text)
    except ValueError:
        return ValueError


def pieced(text: str, size: int) -> Any:
    with in_pieces_of(size):
        try:
            return large_json.loads(text)
        except ValueError:
            return ValueError


numbers = st.sampled_from([0, -1, 10**25, 1.5, -2e-7, 1e300, float("inf")])
texts = st.text(max_size=6) | st.sampled_from(['"', "\\", "[", "]}", ",", "\ud800", "\x00", "x" * 50])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=25,
)


@given(value=values, size=st.sampled_from(PIECES), indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_every_document_is_the_same(value: Any, size: int, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).replace("Infinity", "1e999")
    assert pieced(text, size) == standard(text)


@given(text=st.text(alphabet='[]{},:"\\ 0123456789.-+eEtruefalsnu\n', max_size=30), size=st.sampled_from(PIECES))
@example(text="[,1]", size=3)
@example(text="[ ,1]", size=3)
@example(text='{ ,"a":1}', size=3)
@example(text="[1,]", size=3)
@example(text='{"a":1,}', size=3)
@example(text="[1,,2]", size=3)
@example(text="[1 2]", size=3)
@example(text='["a" "b", 1]', size=3)
@example(text="[{]}, 1]", size=3)
@example(text='{"a" 1, "b": 2}', size=3)
@example(text="{1: 2}", size=3)
@example(text="[1] 2", size=3)
@example(text='["a\nb", 1]', size=3)
@example(text='["\\', size=3)
@example(text="[1.5e-7, 12.]", size=2)
def test_what_is_no_json_is_none_in_pieces_either(text: str, size: int) -> None:
    assert pieced(text, size) == standard(text)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("size", PIECES)
def test_words_that_json_has_not_are_refused(word: str, size: int) -> None:
    assert pieced(f'{{"items": [1, [{word}]]}}', size) is ValueError


def test_the_last_of_equal_keys_counts() -> None:
    text = '{"a": [[1]], "b": 2, "a": 3, "a": [[4]], "b": [[5]]}'
    assert [pieced(text, size) for size in PIECES] == [{"a": [[4]], "b": [[5]]}] * len(PIECES)


def test_what_is_nested_too_deeply_is_a_recursion_error() -> None:
    with pytest.raises(RecursionError):
        large_json.loads("[" * 100_000 + "]" * 100_000)


def test_a_number_of_thousands_of_digits_is_refused_as_ever() -> None:
    assert pieced("[[1], " + "9" * 5000 + "]", 64) is ValueError


@pytest.mark.parametrize(
    "text",
    [
        "[" + "0," * 200_000 + "0]",
        "[" + "[]," * 100_000 + "[]]",
        "[" + "[[]]," * 50_000 + "[]]",
        '{"items": {"all": [' + '{"a": "b"},' * 30_000 + '{"a": "b"}]}}',
        "[" + '"' + "x" * 300_000 + '", [1]]',
        ("[" + "1," * 1_000) * 200 + "1" + "]" * 200,
    ],
    ids=["numbers", "empty arrays", "nested arrays", "objects", "a long text", "a deep chain"],
)
def test_no_call_of_the_standard_decoder_gets_much_at_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    class Watching(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            nonlocal longest
            value, end = super().raw_decode(s, idx)
            longest = max(longest, end - idx if isinstance(value, list | dict) else 0)
            return value, end

    expected = json.loads(text)
    monkeypatch.setattr(large_json, "STRICT", Watching())
    assert large_json.loads(text) == expected
    assert 0 < longest <= large_json.PIECE + 2
