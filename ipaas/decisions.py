"""What people and other systems can say to executions that wait: signals, callbacks, decisions on approvals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows.engine.outside import KEPT_SECONDS
from flows.history import Delivery, HistoryStore, Topic, Wait, WaitKind, signal_address, step_address
from flows.language.input_schema import InputSchema
from flows.language.wait import signal_name
from foundation.errors import ExpressionError, IpaasError, NotFound
from ipaas.operations import Conflict

MOST_LISTED = 500


class UnfitForm(IpaasError):
    """The form of a decision does not fit what was asked for."""

    code = "unfit_form"


class UnfitSignal(IpaasError):
    """This can't be a signal's name."""

    code = "unfit_signal"


@dataclass(frozen=True)
class Decision:
    """
    Attributes:
        by: who decided, as they say.
    """

    approved: bool
    form: Any = None
    by: str | None = None


async def signal(store: HistoryStore, name: str, body: Any, *, by: str) -> Delivery:
    """Sends a signal to the step that waits for it; kept for a week when none does yet.

    Raises:
        UnfitSignal
    """
    try:
        signal_name(name)
    except ExpressionError as error:
        raise UnfitSignal(str(error)) from None
    return await _deliver(store, signal_address(name), body, by=by)


async def call_back(store: HistoryStore, execution_id: str, path: str, body: Any) -> None:
    """Answers the step that waits for its callback, or will.

    Raises:
        NotFound: the execution is not in the history any more.
        Conflict: it has ended, or the step was called before.
    """
    await _answer(store, execution_id, path, body, by=None)


async def approvals(store: HistoryStore) -> Sequence[Wait]:
    """Those that wait for a decision, oldest first."""
    return await store.open_waits(WaitKind.APPROVAL, limit=MOST_LISTED)


def approval_id(wait: Wait) -> str:
    return f"{wait.execution_id}:{wait.path}"


async def decide(store: HistoryStore, approval: str, decision: Decision) -> Wait:
    """Decides an approval.

    Args:
        approval: its id, or its execution's when that waits for one only.

    Raises:
        NotFound: there is no such approval.
        Conflict: it is decided already, or its execution has ended.
        UnfitForm: the form does not fit.
    """
    wait = await approval_of(store, approval)
    form = {} if decision.form is None and wait.document["form"] else decision.form
    if decision.approved:  # who rejects need not fill it in
        _check_form(wait.document["form"], form)
    said = {"approved": decision.approved, "form": form}
    await _answer(store, wait.execution_id, wait.path, said, by=decision.by)
    return await approval_of(store, approval_id(wait))


async def approval_of(store: HistoryStore, approval: str) -> Wait:
    """Raises NotFound; Conflict when the id is an execution's that waits for several."""
    execution_id, _, path = approval.partition(":")
    if path:
        wait = await store.wait_at(step_address(execution_id, path))
        if wait is not None and wait.kind is WaitKind.APPROVAL:
            return wait
        raise NotFound(f"no approval {approval}")
    execution = await store.execution(execution_id)
    waits = [wait for wait in (execution.waits if execution else ()) if wait.kind is WaitKind.APPROVAL]
    waits = [wait for wait in waits if wait.ended_at is None] or waits[-1:]
    if len(waits) > 1:
        raise Conflict(f"execution {execution_id} asks {len(waits)}: {', '.join(map(approval_id, waits))}")
    if not waits:
        raise NotFound(f"no approval {approval}")
    return waits[0]


def _check_form(schema: Any, form: Any) -> None:
    """Raises UnfitForm."""
    if schema is None:
        return
    for error in InputSchema(schema).errors(form, most=1):
        raise UnfitForm(f"the form does not fit: {error['path']}: {error['message']}")


async def _answer(store: HistoryStore, execution_id: str, path: str, said: Any, *, by: str | None) -> None:
    delivery = await _deliver(store, step_address(execution_id, path), said, by=by)
    if delivery is Delivery.DELIVERED:
        return
    execution = await store.execution(execution_id)
    if execution is None:
        raise NotFound(f"no execution {execution_id}")
    if delivery is Delivery.KNOWN:
        wait = await store.wait_at(step_address(execution_id, path))
        if wait and wait.ended_at and not wait.answered:
            raise Conflict("this can't be answered any more: its time is over")
        raise Conflict(f"this was answered already{f' by {wait.answered_by}' if wait and wait.answered_by else ''}")
    if execution.status.is_final:
        raise Conflict(f"execution {execution_id} has ended: {execution.status}")


async def _deliver(store: HistoryStore, address: str, said: Any, *, by: str | None) -> Delivery:
    delivery = await store.answer(address, said, by=by, keep=KEPT_SECONDS)
    if delivery is Delivery.DELIVERED:
        store.announce(Topic.ACCEPTED)  # its execution goes on
    return delivery
