"""The event as workflows see it, and as Prefect's UI asks for it."""

from __future__ import annotations

from datetime import UTC, datetime

import jsonschema
import pytest
from pydantic import ValidationError

from flows import Event
from flows.language.event import parameter_schema


def test_an_event_of_nothing_has_an_id_and_a_time() -> None:
    one, other = Event(), Event()

    assert one.id < other.id
    assert one.received_at.tzinfo is UTC
    assert (one.body, one.headers, one.query, one.method, one.path) == (None, {}, {}, None, None)


def test_its_document_is_plain_json_and_makes_the_same_event() -> None:
    event = Event(body={"a": [1, None]}, query={"q": ["1", "2"]}, received_at=datetime(2026, 1, 1, tzinfo=UTC))

    assert event.document()["received_at"] == "2026-01-01T00:00:00Z"
    assert Event.model_validate(event.document()) == event


def test_an_event_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Event().body = 1  # type: ignore[misc]


def test_quick_run_asks_for_a_body_as_the_workflow_wants_it() -> None:
    schema = parameter_schema({"type": "object", "required": ["user"]})

    jsonschema.validate({"event": {"body": {"user": "Ada"}, "headers": {"x-a": "1"}}}, schema)
    jsonschema.validate({}, schema)
    with pytest.raises(jsonschema.ValidationError, match="'user' is a required property"):
        jsonschema.validate({"event": {"body": {}}}, schema)


def test_without_an_input_any_body_will_do() -> None:
    jsonschema.validate({"event": {"body": [1, "a"]}}, parameter_schema(None))
