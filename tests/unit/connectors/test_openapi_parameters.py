"""Every style of a parameter: the examples of https://spec.openapis.org/oas/v3.1.1.html#style-examples"""

from __future__ import annotations

import pytest
from openapi_documents import operation_of

from connectors.openapi.faults import CallError, DocumentError
from connectors.openapi.operation import identifier
from connectors.openapi.parameters import Placed, place

LIST = ["blue", "black", "brown"]
MAPPING = {"R": 100, "G": 200, "B": 150}


def placed(value, **parameter) -> Placed:
    operation = operation_of(parameters=[{"name": "color", **parameter}], path="/pets/{color}")
    return place(operation.parameters, {"color": value})


@pytest.mark.parametrize(
    ("style", "explode", "value", "written"),
    [
        ("simple", False, "blue", "blue"),
        ("simple", False, LIST, "blue,black,brown"),
        ("simple", True, LIST, "blue,black,brown"),
        ("simple", False, MAPPING, "R,100,G,200,B,150"),
        ("simple", True, MAPPING, "R=100,G=200,B=150"),
        ("label", False, "blue", ".blue"),
        ("label", False, LIST, ".blue,black,brown"),
        ("label", True, LIST, ".blue.black.brown"),
        ("label", False, MAPPING, ".R,100,G,200,B,150"),
        ("label", True, MAPPING, ".R=100.G=200.B=150"),
        ("matrix", False, "blue", ";color=blue"),
        ("matrix", False, LIST, ";color=blue,black,brown"),
        ("matrix", True, LIST, ";color=blue;color=black;color=brown"),
        ("matrix", False, MAPPING, ";color=R,100,G,200,B,150"),
        ("matrix", True, MAPPING, ";R=100;G=200;B=150"),
    ],
)
def test_in_a_path(style, explode, value, written) -> None:
    assert placed(value, **{"in": "path", "style": style, "explode": explode}).path == {"color": written}


@pytest.mark.parametrize(
    ("style", "explode", "value", "written"),
    [
        ("form", True, "blue", "color=blue"),
        ("form", False, LIST, "color=blue,black,brown"),
        ("form", True, LIST, "color=blue&color=black&color=brown"),
        ("form", False, MAPPING, "color=R,100,G,200,B,150"),
        ("form", True, MAPPING, "R=100&G=200&B=150"),
        ("spaceDelimited", False, LIST, "color=blue%20black%20brown"),
        ("spaceDelimited", False, MAPPING, "color=R%20100%20G%20200%20B%20150"),
        ("pipeDelimited", False, LIST, "color=blue%7Cblack%7Cbrown"),
        ("deepObject", True, MAPPING, "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150"),
        ("deepObject", True, {"a": {"b": [1, 2]}}, "color%5Ba%5D%5Bb%5D=1&color%5Ba%5D%5Bb%5D=2"),
        ("form", True, True, "color=true"),
        ("form", True, 1.5, "color=1.5"),
        ("form", True, "a&b=c d/ü", "color=a%26b%3Dc%20d%2F%C3%BC"),
    ],
)
def test_in_a_query(style, explode, value, written) -> None:
    assert placed(value, **{"in": "query", "style": style, "explode": explode}).query == written


def test_reserved_characters_may_stand_but_none_that_ends_the_parameter() -> None:
    assert placed("a/b?c&d=e#f", **{"in": "query", "allowReserved": True}).query == "color=a/b?c%26d%3De%23f"


def test_json_as_content() -> None:
    content = {"content": {"application/json": {"schema": {"type": "object"}}}}
    assert placed({"a": [1]}, **{"in": "query"}, **content).query == "color=%7B%22a%22%3A%20%5B1%5D%7D"
    assert placed({"a": [1]}, **{"in": "header"}, **content).headers == {"color": '{"a": [1]}'}


def test_in_a_header_and_a_cookie() -> None:
    assert placed(LIST, **{"in": "header"}).headers == {"color": "blue,black,brown"}
    assert placed(MAPPING, **{"in": "header", "explode": True}).headers == {"color": "R=100,G=200,B=150"}
    assert placed("a;b", **{"in": "cookie"}).cookies == ["color=a%3Bb"]


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_segment_of_a_path_stays_one(value) -> None:
    with pytest.raises(CallError, match="`color` can't be part of an address"):
        placed(value, **{"in": "path"})
    assert placed("../x", **{"in": "path"}).path == {"color": "..%2Fx"}


def test_a_header_stays_one() -> None:
    with pytest.raises(CallError, match="`color` can't be a header"):
        placed("a\r\nX-Evil: 1", **{"in": "header"})


def test_what_a_style_cannot_say_is_told() -> None:
    with pytest.raises(CallError, match="`color` can't be written in a query: it holds a list or mapping inside"):
        placed([[1]], **{"in": "query"})
    with pytest.raises(CallError, match="`color` must be a mapping"):
        placed("x", **{"in": "query", "style": "deepObject"})
    with pytest.raises(DocumentError, match=r"petstore: pets: parameters.color: style 'matrix' is none of query: form"):
        placed("x", **{"in": "query", "style": "matrix"})


def test_what_is_not_given_is_not_sent() -> None:
    assert placed(None, **{"in": "query"}).query == ""


def test_a_name_that_is_there_twice_or_taken_stands_with_its_place() -> None:
    given = [{"name": name, "in": where} for name, where in (("id", "path"), ("id", "query"), ("body", "query"))]
    operation = operation_of(parameters=given, path="/pets/{id}")
    assert [one.argument for one in operation.parameters] == ["id", "query.id", "query.body"]


def test_headers_that_mean_nothing_as_parameters() -> None:
    given = [{"name": name, "in": "header"} for name in ("Accept", "Content-Type", "Authorization", "X-A")]
    assert [one.name for one in operation_of(parameters=given).parameters] == ["X-A"]


@pytest.mark.parametrize(
    ("name", "python"),
    [("per_page", "per_page"), ("X-Request-Id", "x_request_id"), ("class", "class_"), ("filter[a]", "filter_a")],
)
def test_what_python_calls_them(name, python) -> None:
    assert identifier(name) == python
