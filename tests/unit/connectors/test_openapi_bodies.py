"""Values as request bodies, in each content type."""

from __future__ import annotations

import base64
import json
from email.message import Message
from email.parser import BytesParser

import pytest
from openapi_documents import operation_of

from connectors.openapi.bodies import written
from connectors.openapi.faults import CallError

FORM = "application/x-www-form-urlencoded"
BYTES = {"base64": base64.b64encode(b"\x00\xff").decode()}


def body_of(value, content_type: str, media: dict | None = None) -> tuple[bytes, str]:
    content, headers = written(operation_of(method="post", body={content_type: media or {}}), value)
    return content, headers["Content-Type"]


def parts_of(value, media: dict | None = None) -> list[Message]:
    content, kind = body_of(value, "multipart/form-data", media)
    message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
    assert message.is_multipart()
    return message.get_payload()


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.api+json"])
def test_json(kind) -> None:
    assert body_of({"ü": [1, None]}, kind) == ('{"ü":[1,null]}'.encode(), kind)


def test_what_is_no_json_is_told() -> None:
    with pytest.raises(CallError, match="`body` is not JSON"):
        body_of(float("nan"), "application/json")


@pytest.mark.parametrize(
    ("value", "encoding", "form"),
    [
        ({"a": 1, "b": "x y", "c": None}, {}, b"a=1&b=x%20y"),
        ({"a": [1, 2]}, {}, b"a=1&a=2"),
        ({"a": [1, 2]}, {"a": {"style": "form", "explode": False}}, b"a=1,2"),
        ({"a": {"x": 1}}, {"a": {"style": "deepObject", "explode": True}}, b"a%5Bx%5D=1"),
        ({"a": {"x": 1}}, {}, b"a=%7B%22x%22%3A%201%7D"),
    ],
)
def test_a_form(value, encoding, form) -> None:
    assert body_of(value, FORM, {"encoding": encoding}) == (form, FORM)


def test_multipart() -> None:
    value = {"name": "Rex", "about": {"age": 3}, "photo": {**BYTES, "filename": "rex.png", "content_type": "image/png"}}
    name, about, photo = parts_of(value)
    assert (name.get_param("name", header="content-disposition"), name.get_payload()) == ("name", "Rex")
    assert (about.get_content_type(), json.loads(about.get_payload())) == ("application/json", {"age": 3})
    assert (photo.get_filename(), photo.get_content_type()) == ("rex.png", "image/png")
    assert photo.get_payload(decode=True) == b"\x00\xff"


def test_multipart_as_the_document_encodes_it() -> None:
    [row] = parts_of({"rows": [1, 2]}, {"encoding": {"rows": {"contentType": "application/json"}}})
    assert (row.get_content_type(), row.get_payload()) == ("application/json", "[1,2]")
    first, second = parts_of({"files": [BYTES, BYTES]})
    assert first.get_filename() == second.get_filename() == "files"


def test_a_text_for_a_file_is_a_file() -> None:
    schema = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}}
    [file] = parts_of({"file": "a,b"}, schema)
    assert (file.get_filename(), file.get_payload()) == ("file", "a,b")


def test_text_and_bytes() -> None:
    assert body_of("hallo ü", "text/plain") == ("hallo ü".encode(), "text/plain; charset=utf-8")
    assert body_of(BYTES, "application/octet-stream") == (b"\x00\xff", "application/octet-stream")
    assert body_of({**BYTES, "content_type": "image/png"}, "image/*") == (b"\x00\xff", "image/png")
    assert body_of("<a/>", "application/xml") == (b"<a/>", "application/xml")


def test_what_can_not_be_written_is_told() -> None:
    with pytest.raises(CallError, match="`body` must be a mapping of the form's fields"):
        body_of("x", FORM)
    with pytest.raises(CallError, match="`body`: its `base64` is none"):
        body_of({"base64": "%"}, "image/png")
    with pytest.raises(CallError, match="it is sent as application/xml"):
        body_of({"a": 1}, "application/xml")
    with pytest.raises(CallError, match="at least one field"):
        body_of({}, "multipart/form-data")
    with pytest.raises(CallError, match="pets takes no body"):
        written(operation_of(), {})


def test_of_several_content_types_json_is_the_first() -> None:
    operation = operation_of(method="post", body={FORM: {}, "application/json": {}})
    assert written(operation, {"a": 1})[0] == b'{"a":1}'
    assert written(operation, {"a": 1}, FORM)[0] == b"a=1"
    with pytest.raises(CallError, match=f"takes no body of type text/csv; it takes application/json, {FORM}"):
        written(operation, "a", "text/csv")
