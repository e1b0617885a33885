"""`ipaas approvals` and `ipaas signal` on a history in which executions wait."""

from __future__ import annotations

import getpass
import json

import pytest
from store_builders import hold_of, running

from flows.history import NewWait, WaitKind, signal_address, step_address


@pytest.fixture
def asking(in_history):
    """Ids of two executions that ask."""
    ids = []

    async def fill(store):
        for n in range(2):
            execution_id = await running(store)
            form = {"type": "object", "properties": {"n": {"type": "integer"}}}
            document = {"message": f"Send {n}?", "form": form}
            wait = NewWait("ask", WaitKind.APPROVAL, step_address(execution_id, "ask"), None, document)
            await store.park(await hold_of(store, execution_id), [wait])
            ids.append(execution_id)

    in_history(fill)
    return ids


def test_approvals_are_listed_and_decided(ipaas, asking):
    assert ipaas("approvals").out.splitlines()[1].split() == [
        f"{asking[0]}:ask",
        *ipaas("approvals", "list").out.splitlines()[1].split()[1:],
    ]
    assert [item["message"] for item in ipaas("approvals", "--json").document["items"]] == ["Send 0?", "Send 1?"]

    first = ipaas("approvals", "approve", asking[0], "--form", '{"n": 1}', "--by", "Ada", "--json").document
    second = ipaas("approvals", "reject", f"{asking[1]}:ask", "--json").document

    assert (first["decision"], first["decided_by"]) == ({"approved": True, "form": {"n": 1}}, "Ada")
    assert (second["decision"]["approved"], second["decided_by"]) == (False, getpass.getuser())
    assert ipaas("approvals", "--json").document == {"items": []}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("approve", "gone"), "no approval gone"),
        (("approve", "ID", "--form", "{"), "--form is not JSON: line 1, column 2"),
        (("approve", "ID", "--form", '{"n": "x"}'), "the form does not fit: $.n"),
    ],
)
def test_what_can_not_be_decided_is_told(ipaas, asking, arguments, said):
    outcome = ipaas("approvals", *(asking[0] if one == "ID" else one for one in arguments))
    assert (outcome.code, outcome.out) == (1, "")
    assert said in outcome.err


def test_a_decision_is_made_once(ipaas, asking):
    assert "Send 0?" in ipaas("approvals", "approve", asking[0], "--by", "Ada").out
    again = ipaas("approvals", "approve", asking[0])
    assert (again.code, "answered already by Ada" in again.err) == (1, True)


def test_a_signal_says_what_became_of_it(ipaas, in_history):
    async def fill(store):
        execution_id = await running(store)
        await store.park(await hold_of(store, execution_id), [NewWait("w", WaitKind.SIGNAL, signal_address("paid"))])

    in_history(fill)

    said = [ipaas("signal", "paid", "--body", "-", stdin=json.dumps({"n": 1})).out for _ in range(3)]

    assert said == [
        "delivered\n",
        "kept: nobody waits for it yet\n",
        "not kept: an earlier one still waits for whoever takes it\n",
    ]
    assert ipaas("signal", "other", "--json").document == {"delivered": False, "status": "kept"}
    assert "expected a signal's name" in ipaas("signal", "").err
