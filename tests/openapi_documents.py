"""Small OpenAPI documents for tests, and projects that pin them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from connectors.openapi.document import Document
from connectors.openapi.operation import Operation, read_operation
from connectors.openapi.pieces import cut
from connectors.openapi.reading import read_document


def document_of(
    paths: dict[str, Any] | None = None, version: str = "3.1.0", location: str = "", **others: Any
) -> Document:
    """A document with these paths, at https://api.example/v1."""
    return Document(cut(read_document(text_of(paths, version, **others), "petstore")), "petstore", location)


def text_of(paths: dict[str, Any] | None = None, version: str = "3.1.0", **others: Any) -> bytes:
    servers = [{"url": "https://api.example/v1"}]
    made = {"openapi": version, "info": {"title": "Pets", "version": "1"}, "servers": servers, "paths": paths or {}}
    return json.dumps(made | others).encode()


def operation_of(
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    method: str = "get",
    path: str = "/pets",
    document: dict[str, Any] | None = None,
    version: str = "3.1.0",
    **others: Any,
) -> Operation:
    """The operation `pets` of a document that has only it.

    Args:
        body: the content of its request's body, by content type.
        document, others: what else the document, and the operation, say.
    """
    said = {"operationId": "pets", "parameters": parameters or [], **others}
    if body is not None:
        said["requestBody"] = {"content": body}
    return read_operation(document_of({path: {method: said}}, version, **(document or {})), "pets")


def in_project(monkeypatch: Any, tmp_path: Path) -> Path:
    """A project and a home of its own, in which the test is."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.setenv("IPAAS_PROJECT", str(project))
    monkeypatch.setenv("IPAAS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(project)
    return project


PETSTORE: dict[str, Any] = {
    "/pets": {
        "get": {
            "operationId": "pets/list",
            "summary": "List all pets",
            "parameters": [
                {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}},
                {"name": "X-Request-Id", "in": "header", "schema": {"type": "string"}},
            ],
            "responses": {
                "200": {
                    "description": "",
                    "content": {
                        "application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}}
                    },
                }
            },
        },
        "post": {
            "operationId": "pets/create",
            "security": [{"token": []}],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewPet"}}},
            },
            "responses": {
                "201": {
                    "description": "",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                }
            },
        },
    },
    "/pets/{id}": {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
        "get": {
            "operationId": "getPetById",
            "responses": {
                "200": {
                    "description": "",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                }
            },
        },
        "delete": {"responses": {"204": {"description": "gone"}}},
    },
}
COMPONENTS: dict[str, Any] = {
    "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    "schemas": {
        "NewPet": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "kind": {"enum": ["cat", "dog"]}, "age": {"type": "integer"}},
        },
        "Pet": {
            "type": "object",
            "required": ["id", "name"],
            "properties": {
                "id": {"type": "integer", "readOnly": True},
                "name": {"type": "string"},
                "parent": {"$ref": "#/components/schemas/Pet"},
            },
        },
    },
}


def petstore() -> bytes:
    return text_of(PETSTORE, components=COMPONENTS)
