"""The workflow language: write workflows in YAML, or in Python with what is here."""

from flows.event import Event
from flows.python_source import schedule, webhook, workflow

__all__ = ["Event", "schedule", "webhook", "workflow"]
