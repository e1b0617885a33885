"""What the log lines of a piece of work carry: `request`, `workflow`, `execution` and `step`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed in place


@contextmanager
def log_fields(**fields: str) -> Iterator[None]:
    """Adds to the fields of every line that is logged within, also by the tasks that are begun there."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def current_log_fields() -> Mapping[str, str]:
    return _fields.get()
