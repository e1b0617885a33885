"""An execution that waits, as Prefect shows it: a paused run, whose "Resume" decides the approval that it waits for."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
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


async def show_waiting(flow_run: FlowRun, waits: Sequence[Wait | NewWait], *, force: bool = False) -> None:
    """It is paused in Prefect until admission wakes it; by `force` whatever state it is in.

    Where Prefect does not answer, reconciliation does it later: the execution waits all the same.
    """
    asked = _asked(waits)
    details = StateDetails(pause_reschedule=True, run_input_keyset=_keyset(asked) if asked else None)
    said = f"Waits. {waiting_for(waits) or ''}"
    paused: State[Any] = State(type=StateType.PAUSED, name=WAITING, message=said, state_details=details)
    try:
        async with get_client() as client:
            if asked:
                await _ask(client, flow_run, asked)
            await client.set_flow_run_state(flow_run.id, paused, force=force)
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


async def _ask(client: PrefectClient, flow_run: FlowRun, asked: Wait | NewWait) -> None:
    """Leaves the form that "Resume" shows."""
    form = {"form": {"title": "Form", **asked.document["form"]}} if asked.document["form"] else {}
    properties = {"approved": {"title": "Approved", "type": "boolean", "default": True}, **form}
    schema = {"title": "Decision", "type": "object", "properties": properties}
    keys = _keyset(asked)
    for key, value in ((keys["schema"], json.dumps(schema)), (keys["description"], asked.document["message"])):
        try:
            await client.create_flow_run_input(flow_run.id, key, value)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 409:  # it is there since the execution waited before
                raise
