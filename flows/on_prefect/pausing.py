"""An execution that waits, as Prefect shows it: a paused run, whose "Resume" decides the approval that it waits for."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from prefect import State
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateDetails, StateType
from prefect.exceptions import ObjectNotFound, PrefectException

from flows.engine.outside import KEPT_SECONDS
from flows.engine.waiting_for import open_waits, waiting_for
from flows.history import HistoryStore, NewWait, Status, Wait, WaitKind, step_address

logger = logging.getLogger("ipaas.waiting")

WAITING: Final = "Waiting"
"""The name of the state of a run whose execution waits for something outside."""
RESUMING: Final = "Resuming"
"""The name that Prefect gives to the state of a run after "Resume"."""
_RESPONSE: Final = "response"


@dataclass(frozen=True)
class Paused:
    """What Prefect shows of an execution that waits.

    Attributes:
        keyset: where "Resume" finds its form among the inputs, and leaves what was filled in.
        inputs: the form, by key.
    """

    message: str
    keyset: dict[str, str] | None
    inputs: dict[str, str]
    name: str = WAITING


def paused(waits: Sequence[Wait | NewWait]) -> Paused:
    asked = _asked(waits)
    said = f"Waits. {waiting_for(waits) or ''}"
    return Paused(said, _keyset(asked), _form(asked)) if asked else Paused(said, None, {})


async def show_waiting(flow_run: FlowRun, waits: Sequence[Wait | NewWait], *, force: bool = False) -> None:
    """It is paused in Prefect until admission wakes it; by `force` whatever state it is in.

    Where Prefect does not answer, reconciliation does it later: the execution waits all the same.
    """
    shown = paused(waits)
    details = StateDetails(pause_reschedule=True, run_input_keyset=shown.keyset)
    state: State[Any] = State(type=StateType.PAUSED, name=shown.name, message=shown.message, state_details=details)
    try:
        async with get_client() as client:
            for key, value in shown.inputs.items():
                await _leave(client, flow_run, key, value)
            await client.set_flow_run_state(flow_run.id, state, force=force)
    except (httpx.HTTPError, PrefectException, OSError) as error:
        logger.warning("flow run %s is not shown as paused yet: %s", flow_run.id, error)


async def decide_by_resume(store: HistoryStore, client: PrefectClient, flow_run: FlowRun) -> None:
    """Somebody pressed "Resume": that decides the one approval that the execution waits for, if it does."""
    execution = await store.execution_of_flow_run(str(flow_run.id))
    if execution is None or execution.status is not Status.WAITING:
        return
    asked = _asked(open_waits(execution.waits))
    if asked is None:
        return
    try:
        said = json.loads(await client.read_flow_run_input(flow_run.id, _keyset(asked)[_RESPONSE]))
    except (ObjectNotFound, httpx.HTTPStatusError):  # nothing was filled in
        said = {}
    decision = {"approved": said.get("approved", True), "form": said.get("form")}
    await store.answer(step_address(execution.id, asked.path), decision, by="Prefect", keep=KEPT_SECONDS)


def _asked(waits: Sequence[Wait | NewWait]) -> Wait | NewWait | None:
    """The approval that is meant by "Resume": of several none is."""
    approvals = [wait for wait in waits if wait.kind is WaitKind.APPROVAL]
    return approvals[0] if len(approvals) == 1 else None


def _keyset(asked: Wait | NewWait) -> dict[str, str]:
    return {name: f"ipaas-{asked.path}-{name}" for name in ("description", _RESPONSE, "schema")}


def _form(asked: Wait | NewWait) -> dict[str, str]:
    """The form that "Resume" shows."""
    form = {"form": {"title": "Form", **asked.document["form"]}} if asked.document["form"] else {}
    properties = {"approved": {"title": "Approved", "type": "boolean", "default": True}, **form}
    schema = {"title": "Decision", "type": "object", "properties": properties}
    keys = _keyset(asked)
    return {keys["schema"]: json.dumps(schema), keys["description"]: asked.document["message"]}


async def _leave(client: PrefectClient, flow_run: FlowRun, key: str, value: str) -> None:
    try:
        await client.create_flow_run_input(flow_run.id, key, value)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 409:  # it is there since the execution waited before
            raise
