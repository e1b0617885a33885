"""Swagger 2.0 as OpenAPI 3.0: https://swagger.io/specification/v2/"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connectors.openapi.faults import DocumentError

Json = Any

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MOVED: Final = {
    "#/definitions/": "#/components/schemas/",
    "#/parameters/": "#/components/parameters/",
    "#/responses/": "#/components/responses/",
}
_STYLES: Final[Mapping[str, Mapping[str, Json]]] = {
    "csv": {"explode": False},
    "ssv": {"style": "spaceDelimited", "explode": False},
    "pipes": {"style": "pipeDelimited", "explode": False},
    "multi": {"explode": True},
    "tsv": {"explode": False},
}
_FLOWS: Final = {
    "implicit": "implicit",
    "password": "password",
    "application": "clientCredentials",
    "accessCode": "authorizationCode",
}
_ABOUT: Final = frozenset({"name", "in", "description", "required", "collectionFormat", "allowEmptyValue"})


def as_openapi(swagger: Mapping[str, Json]) -> dict[str, Json]:
    """The same document in OpenAPI 3.0.

    Raises:
        DocumentError: something in it is no Swagger; the message names the place.
    """
    return _Converter(swagger).document()


class _Converter:
    def __init__(self, swagger: Mapping[str, Json]) -> None:
        self._swagger = swagger
        self._consumes = _texts(swagger.get("consumes")) or ["application/json"]
        self._produces = _texts(swagger.get("produces")) or ["application/json"]

    def document(self) -> dict[str, Json]:
        swagger = self._swagger
        host = swagger.get("host")
        schemes = _texts(swagger.get("schemes")) or ["https"]
        path = str(swagger.get("basePath") or "").rstrip("/")
        servers = [{"url": f"{scheme}://{host}{path}"} for scheme in sorted(schemes, key=lambda one: one != "https")]
        parameters = {
            name: self._parameter(one)
            for name, one in _mapping(swagger, "parameters").items()
            if one.get("in") not in ("body", "formData")
        }
        return {
            "openapi": "3.0.3",
            "info": swagger.get("info", {}),
            "servers": servers if host else [{"url": path or "/"}],
            "paths": {name: self._path(item, name) for name, item in _mapping(swagger, "paths").items()},
            "components": {
                "schemas": _schema(_mapping(swagger, "definitions")),
                "parameters": parameters,
                "responses": {
                    name: self._response(one, self._produces) for name, one in _mapping(swagger, "responses").items()
                },
                "securitySchemes": {
                    name: _security(one, name) for name, one in _mapping(swagger, "securityDefinitions").items()
                },
            },
            **({"security": swagger["security"]} if "security" in swagger else {}),
        }

    def _path(self, item: Json, path: str) -> Json:
        if not isinstance(item, Mapping):
            raise DocumentError(f"paths.{path}: a path is a mapping")
        shared = [self._looked_up(one) for one in item.get("parameters", [])]
        found = {key: value for key, value in item.items() if key not in METHODS and key != "parameters"}
        return found | {
            method: self._operation(item[method], shared, f"paths.{path}.{method}")
            for method in METHODS
            if method in item
        }

    def _operation(self, operation: Json, shared: list[Json], place: str) -> Json:
        if not isinstance(operation, Mapping):
            raise DocumentError(f"{place}: an operation is a mapping")
        own = [self._looked_up(one) for one in operation.get("parameters", [])]
        known = {(one.get("name"), one.get("in")) for one in own}
        parameters = [*(one for one in shared if (one.get("name"), one.get("in")) not in known), *own]
        consumes = _texts(operation.get("consumes")) or self._consumes
        produces = _texts(operation.get("produces")) or self._produces
        kept = {
            key: value
            for key, value in operation.items()
            if key not in ("parameters", "consumes", "produces", "schemes", "responses")
        }
        body = _body(parameters, consumes)
        return {
            **kept,
            "parameters": [self._parameter(one) for one in parameters if one.get("in") not in ("body", "formData")],
            **({"requestBody": body} if body else {}),
            "responses": {
                str(status): self._response(one, produces) for status, one in operation.get("responses", {}).items()
            },
        }

    def _looked_up(self, parameter: Json) -> Json:
        """A parameter, `$ref` followed: whether it is the body must be known."""
        if not isinstance(parameter, Mapping):
            raise DocumentError("a parameter is a mapping")
        reference = parameter.get("$ref")
        if reference is None:
            return parameter
        name = str(reference).removeprefix("#/parameters/")
        try:
            return _mapping(self._swagger, "parameters")[name]
        except KeyError:
            raise DocumentError(f"{reference} leads to nothing") from None

    def _parameter(self, parameter: Mapping[str, Json]) -> Json:
        about = {key: parameter[key] for key in ("name", "in", "description", "required") if key in parameter}
        schema = _schema({key: value for key, value in parameter.items() if key not in _ABOUT})
        style = _STYLES.get(parameter.get("collectionFormat", "csv"), {}) if schema.get("type") == "array" else {}
        return {**about, "schema": schema, **style}

    def _response(self, response: Json, produces: list[str]) -> Json:
        if not isinstance(response, Mapping) or "$ref" in response:
            return _schema(response)
        content = {kind: {"schema": _schema(response["schema"])} for kind in produces} if "schema" in response else {}
        return {"description": response.get("description", ""), "content": content}


def _body(parameters: list[Json], consumes: list[str]) -> Json:
    for one in parameters:
        if one.get("in") == "body":
            content = {kind: {"schema": _schema(one.get("schema", {}))} for kind in consumes}
            return {
                "required": bool(one.get("required")),
                "description": one.get("description", ""),
                "content": content,
            }
    fields = [one for one in parameters if one.get("in") == "formData"]
    if not fields:
        return None
    has_file = any(one.get("type") == "file" for one in fields)
    kinds = [kind for kind in consumes if kind in ("multipart/form-data", "application/x-www-form-urlencoded")]
    kind = "multipart/form-data" if has_file else (kinds[0] if kinds else "application/x-www-form-urlencoded")
    left_out = {"name", "in", "required", "collectionFormat", "allowEmptyValue"}
    properties = {
        one["name"]: _schema({key: value for key, value in one.items() if key not in left_out}) for one in fields
    }
    encoding = {
        one["name"]: {"style": "form", **_STYLES.get(one.get("collectionFormat", "csv"), {})}
        for one in fields
        if one.get("type") == "array"
    }
    required = [one["name"] for one in fields if one.get("required")]
    schema = {"type": "object", "properties": properties, **({"required": required} if required else {})}
    media = {"schema": schema, **({"encoding": encoding} if encoding else {})}
    return {"required": bool(required), "content": {kind: media}}


def _schema(schema: Json) -> Json:
    """A schema, or anything that holds some, with references to where things are in OpenAPI 3."""
    if isinstance(schema, Mapping):
        if schema.get("type") == "file":
            kept = {key: value for key, value in schema.items() if key != "type"}
            return kept | {"type": "string", "format": "binary"}
        found = {key: _schema(value) for key, value in schema.items()}
        reference = found.get("$ref")
        if isinstance(reference, str):
            old = next((one for one in _MOVED if reference.startswith(one)), None)
            found["$ref"] = _MOVED[old] + reference.removeprefix(old) if old else reference
        if found.get("x-nullable") is True:
            found["nullable"] = True
        return found
    return [_schema(one) for one in schema] if isinstance(schema, list) else schema


def _security(scheme: Json, name: str) -> Json:
    match scheme:
        case {"type": "basic"}:
            return {"type": "http", "scheme": "basic"}
        case {"type": "oauth2", "flow": flow} if flow in _FLOWS:
            urls = {key: scheme[key] for key in ("authorizationUrl", "tokenUrl") if key in scheme}
            return {"type": "oauth2", "flows": {_FLOWS[flow]: {**urls, "scopes": scheme.get("scopes", {})}}}
        case {"type": "apiKey"}:
            return dict(scheme)
    raise DocumentError(f"securityDefinitions.{name}: not basic, apiKey or oauth2 with a known flow")


def _mapping(parent: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = parent.get(key) or {}
    if not isinstance(value, Mapping):
        raise DocumentError(f"`{key}` must be a mapping")
    return value


def _texts(value: Json) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
