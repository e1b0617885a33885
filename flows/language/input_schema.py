"""A workflow's `input`: the JSON Schema that an event's body must fit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator


class InputSchema:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = Draft202012Validator(dict(schema))

    def errors(self, body: Any, most: int = 20) -> list[dict[str, str]]:
        """Where the body does not fit, and why: `{"path", "message"}`, at most so many. Empty when it fits."""
        found = islice(self._validator.iter_errors(body), most)
        return [{"path": error.json_path, "message": error.message[:300]} for error in found]
