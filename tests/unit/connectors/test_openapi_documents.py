"""How documents are read: JSON or YAML, of which versions, within which bounds; what they refer to."""

from __future__ import annotations

import json

import pytest
from openapi_documents import COMPONENTS, PETSTORE, document_of, operation_of, petstore, text_of

from connectors.openapi import pieces, reading, yaml_data
from connectors.openapi.document import Document
from connectors.openapi.faults import DocumentError, UnknownOperation
from connectors.openapi.operation import read_operation
from connectors.openapi.pieces import cut, kept_name, open_pieces
from connectors.openapi.reading import read_document
from connectors.openapi.schemas import standing_alone
from connectors.openapi.sources import hash_of, read_source, whole_document

YAML = """\
openapi: 3.0.3
info: {title: Pets, version: 1.0, x-quoted: "1.0", x-on: true}
paths:
  /pets:
    get:
      operationId: list
      parameters:
        - {name: country, in: query, schema: {type: string, enum: [no, on, DE]}}
      responses:
        200: {description: since 2020-01-01}
"""


def test_yaml_is_yaml_1_2() -> None:
    document = read_document(YAML.encode(), "pets.yaml")
    operation = document["paths"]["/pets"]["get"]
    assert operation["parameters"][0]["schema"]["enum"] == ["no", "on", "DE"]
    assert operation["responses"] == {"200": {"description": "since 2020-01-01"}}
    assert document["info"] == {"title": "Pets", "version": 1.0, "x-quoted": "1.0", "x-on": True}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"openapi": "3.1.0", "paths": {', r"line 1, column 32: not JSON"),
        (b"openapi: [", "line 2, column 1: not YAML"),
        (b"\xff", "not UTF-8, from byte 0 on"),
        (b"[]", "is a mapping with the key `openapi`"),
        (b"hello", "is a mapping with the key `openapi`"),
        (b"", "is a mapping with the key `openapi`"),
        (b"{}", "it has no key `openapi`"),
        (b'{"openapi": "4.0.0"}', "OpenAPI 4.0.0 is not read: 3.0 and 3.1 are"),
        (b'{"openapi": 3}', "OpenAPI 3 is not read"),
        (b'{"swagger": "1.2"}', "Swagger 1.2 is not read"),
        (b'{"openapi": "3.1.0", "paths": []}', "`paths` must be a mapping"),
        (b"a: 1\n---\nb: 2", "line 2, column 1: a second document"),
        (b"a: *b", "no anchor &b"),
        (b"a: &a [*a]", r"\*a holds itself"),
        (b'{"a":' * 500_000, "nested too deeply"),
        (b"[" * 300, "nested more than|not JSON"),
    ],
)
def test_what_is_none_is_told(content, said) -> None:
    with pytest.raises(DocumentError, match=f"^pets: .*({said})"):
        read_document(content, "pets")


def test_bounds(monkeypatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1024 * 1024)
    with pytest.raises(DocumentError, match="larger than 1 MiB"):
        read_document(b" " * (1024 * 1024 + 1), "pets")
    monkeypatch.setattr(reading, "MAX_NODES", 100)
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b]\n"
    with pytest.raises(DocumentError, match="more than 100 keys and values, aliases unfolded"):
        read_document(bomb.encode(), "pets")
    monkeypatch.setattr(yaml_data, "MAX_ALIASES", 5)
    with pytest.raises(DocumentError, match="more than 5 aliases"):
        read_document(bomb.encode(), "pets")


def test_operations_by_name() -> None:
    document = document_of(PETSTORE)
    assert list(document.operations) == ["pets/list", "pets/create", "getPetById", "delete_pets_id"]
    assert document.find("DELETE /pets/{id}").name == "delete_pets_id"
    assert document.operations["pets/list"].summary == "List all pets"
    with pytest.raises(UnknownOperation, match="petstore has no operation 'pets/lst'; did you mean 'pets/list'"):
        document.find("pets/lst")
    with pytest.raises(UnknownOperation, match="there are: pets/list, pets/create"):
        document.find("nothing like it at all")


def test_two_operations_of_one_name_are_told_apart() -> None:
    one = {"operationId": "same"}
    assert list(document_of({"/a": {"get": one}, "/b": {"get": one}}).operations) == ["same", "get_b"]


def test_references_are_followed_everywhere() -> None:
    components = {
        "parameters": {"Limit": {"name": "limit", "in": "query"}},
        "requestBodies": {"Pet": {"content": {"application/json": {"schema": {"type": "object"}}}}},
        "pathItems": {"Shared": {"parameters": [{"$ref": "#/components/parameters/Limit"}]}},
    }
    said = {"operationId": "a", "requestBody": {"$ref": "#/components/requestBodies/Pet"}}
    document = document_of({"/a": {"$ref": "#/components/pathItems/Shared", "post": said}}, components=components)
    operation = read_operation(document, "a")
    assert [one.name for one in operation.parameters] == ["limit"]
    assert [one.content_type for one in operation.bodies] == ["application/json"]
    assert document.at("#/paths/~1a/post/operationId") == "a"


def test_references_that_lead_nowhere_or_in_a_circle_are_told() -> None:
    circle = {"parameters": {"A": {"$ref": "#/components/parameters/B"}, "B": {"$ref": "#/components/parameters/A"}}}
    for reference, said in (
        ("#/components/parameters/A", "in a circle"),
        ("#/components/parameters/C", "leads to nothing"),
        ("#/nothing", "leads to nothing"),
        ("other.yaml#/a", "leads outside of the document"),
    ):
        with pytest.raises(DocumentError, match=f"petstore: .*{said}"):
            operation_of(parameters=[{"$ref": reference}], document={"components": circle})


def test_recursive_schemas_stay_recursive() -> None:
    schema = standing_alone(document_of(PETSTORE, components=COMPONENTS), {"$ref": "#/components/schemas/Pet"})
    assert schema["$ref"] == "#/$defs/Pet"
    assert schema["$defs"]["Pet"]["properties"]["parent"] == {"$ref": "#/$defs/Pet"}
    assert schema["$defs"]["Pet"]["required"] == ["name"]  # the id is read-only: who creates one does not send it


@pytest.mark.parametrize(
    ("schema", "becomes"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"enum": ["a"], "nullable": True}, {"enum": ["a", None]}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 1}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": False}, {"type": "integer", "minimum": 1}),
        (
            {"oneOf": [{"type": "string"}], "nullable": True},
            {"anyOf": [{"oneOf": [{"type": "string"}]}, {"type": "null"}]},
        ),
        ({"type": "string", "pattern": "(", "example": "x", "xml": {}, "x-a": 1}, {"type": "string"}),
        (
            {"allOf": [{"type": "object", "properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}}]},
            {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]},
        ),
    ],
)
def test_schemas_of_3_0_become_json_schemas(schema, becomes) -> None:
    assert standing_alone(document_of(version="3.0.3"), schema) == becomes


def test_a_large_document_is_cut_once_and_kept(tmp_path, monkeypatch) -> None:
    content = petstore()
    open_pieces(content, "pets", tmp_path)
    assert list(tmp_path.iterdir()) == []  # it is small
    monkeypatch.setattr(pieces, "MIN_BYTES", 1)
    first = open_pieces(content, "pets", tmp_path)
    [kept] = tmp_path.iterdir()
    assert kept.name == kept_name(hash_of(content))
    assert list(Document(open_pieces(content, "pets", tmp_path), "pets").operations) == list(
        Document(first, "pets").operations
    )
    kept.write_bytes(kept.read_bytes()[:-10])
    assert open_pieces(content, "pets", tmp_path)["/components/schemas/Pet"]["required"] == ["id", "name"]


def test_a_folder_that_can_not_be_written_costs_nothing_but_time(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pieces, "MIN_BYTES", 1)
    (tmp_path / "file").write_text("")
    assert "/components/schemas/Pet" in open_pieces(petstore(), "pets", tmp_path / "file")


def test_other_files_are_taken_in(tmp_path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "pet.yaml").write_text(
        "Pet: {type: object, properties: {parent: {$ref: '#/Pet'}, kind: {$ref: 'kind.json'}}}"
    )
    (tmp_path / "schemas" / "kind.json").write_text('{"enum": ["cat"]}')
    body = {"content": {"application/json": {"schema": {"$ref": "schemas/pet.yaml#/Pet"}}}}
    (tmp_path / "api.json").write_bytes(text_of({"/a": {"post": {"operationId": "a", "requestBody": body}}}))
    whole = whole_document(read_source("api.json", tmp_path), "api.json", tmp_path)
    document = Document(cut(whole), "pets")
    schema = standing_alone(document, read_operation(document, "a").bodies[0].schema)
    pet = schema["$defs"]["Pet"]["properties"]
    assert pet["parent"] == {"$ref": "#/$defs/Pet"}
    assert schema["$defs"][pet["kind"]["$ref"].removeprefix("#/$defs/")] == {"enum": ["cat"]}


@pytest.mark.parametrize(
    ("reference", "said"),
    [("../secret.json", "outside of the document's folder"), ("missing.yaml", "there is no such file")],
)
def test_other_files_stand_beside_it(tmp_path, reference, said) -> None:
    (tmp_path / "secret.json").write_text('{"password": "hunter2"}')
    (tmp_path / "api").mkdir()
    file = tmp_path / "api" / "api.json"
    file.write_bytes(text_of({"/a": {"get": {"responses": {"200": {"$ref": reference}}}}}))
    with pytest.raises(DocumentError, match=said):
        whole_document(file.read_bytes(), "api.json", file.parent)


def test_sources_that_are_not_there(tmp_path) -> None:
    with pytest.raises(DocumentError, match=r"nix\.json: there is no such file"):
        read_source("nix.json", tmp_path)
    with pytest.raises(DocumentError, match="there is no package 'nix_nix'"):
        read_source("package:nix_nix/api.json", tmp_path)
    with pytest.raises(DocumentError, match="leads out of the package"):
        read_source("package:connectors/../secret.json", tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path) -> None:
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    with pytest.raises(DocumentError, match=r"large\.json: larger than 64 MiB"):
        read_source("large.json", tmp_path)


def test_a_file_in_a_package(tmp_path, monkeypatch) -> None:
    (tmp_path / "acme_api").mkdir()
    (tmp_path / "acme_api" / "__init__.py").write_text("")
    (tmp_path / "acme_api" / "openapi.json").write_bytes(petstore())
    monkeypatch.syspath_prepend(tmp_path)
    assert read_source("package:acme_api/openapi.json", tmp_path) == petstore()


SWAGGER = {
    "swagger": "2.0",
    "host": "api.example",
    "basePath": "/v1",
    "consumes": ["application/json"],
    "securityDefinitions": {"key": {"type": "apiKey", "in": "query", "name": "k"}},
    "definitions": {"Pet": {"type": "object", "properties": {"name": {"type": "string"}}}},
    "parameters": {"Body": {"name": "pet", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Pet"}}},
    "paths": {
        "/pets": {
            "post": {"operationId": "create", "parameters": [{"$ref": "#/parameters/Body"}]},
            "get": {
                "operationId": "list",
                "parameters": [
                    {"name": "tags", "in": "query", "type": "array", "items": {"type": "string"}},
                    {"name": "kinds", "in": "query", "type": "array", "collectionFormat": "multi", "items": {}},
                ],
                "responses": {
                    "200": {"description": "", "schema": {"type": "array", "items": {"$ref": "#/definitions/Pet"}}}
                },
            },
        },
        "/photos": {
            "post": {
                "operationId": "upload",
                "parameters": [{"name": "photo", "in": "formData", "type": "file", "required": True}],
            }
        },
    },
}


def test_swagger_is_converted() -> None:
    document = Document(cut(read_document(json.dumps(SWAGGER).encode(), "pets")), "pets")
    create, listing, upload = (read_operation(document, name) for name in ("create", "list", "upload"))
    assert create.servers == ({"url": "https://api.example/v1"},)
    assert (create.body_required, create.bodies[0].schema) == (True, {"$ref": "#/components/schemas/Pet"})
    assert [(one.style, one.explode) for one in listing.parameters] == [("form", False), ("form", True)]
    assert listing.result == {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}
    assert upload.bodies[0].content_type == "multipart/form-data"
    assert upload.bodies[0].schema["properties"]["photo"] == {"type": "string", "format": "binary"}
    assert document.component("securitySchemes", "key") == {"type": "apiKey", "in": "query", "name": "k"}
