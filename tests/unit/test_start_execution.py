"""Starting a workflow by hand: the execution is stored, and a dispatcher finds it."""

from __future__ import annotations

import pytest

from flows.history import MemoryStore, Trigger, WorkflowVersion
from flows.history.documents import from_document
from flows.language.event import Event
from flows.language.input_schema import UnfitEvent
from foundation.clock import ManualClock
from foundation.errors import NotFound
from ipaas.operations import start

SCHEMA = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}


async def stored() -> tuple[MemoryStore, ManualClock]:
    clock = ManualClock()
    store = MemoryStore(clock)
    declaration = {"name": "orders", "input": SCHEMA}
    await store.publish(WorkflowVersion("orders", "v1", "yaml", "", "orders.yaml", declaration=declaration))
    return store, clock


async def test_it_is_stored_for_the_dispatcher():
    store, clock = await stored()
    execution_id = await start(store, clock, "orders", Event(body={"amount": 3}))
    [claimed] = await store.admit(limit=10, claim=30)
    assert (claimed.id, claimed.trigger, claimed.version) == (execution_id, Trigger.MANUAL, "v1")
    assert from_document(claimed.event)["body"] == {"amount": 3}


async def test_a_body_that_does_not_fit_is_refused_with_its_path():
    store, clock = await stored()
    with pytest.raises(UnfitEvent, match=r"\$\.amount: the value is not of type"):
        await start(store, clock, "orders", Event(body={"amount": "many"}))
    assert await store.backlog() == {}


async def test_an_unknown_workflow_is_named():
    store, clock = await stored()
    with pytest.raises(NotFound, match="no workflow oders"):
        await start(store, clock, "oders", Event())
