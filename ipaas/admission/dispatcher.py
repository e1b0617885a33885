"""Hands accepted executions to Prefect: the second half of the outbox that the gateway writes.

Oldest first, in batches, again after a crash: the idempotency key makes a second hand-over harmless. A Prefect that is
slow or away slows only this, never the gateway.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient

from flows.history import Execution, HistoryStore
from flows.on_prefect.deployment import deploy_version, find_deployment
from flows.on_prefect.internals import BULK_LIMIT, TRACE_LABEL, create_flow_runs
from flows.on_prefect.run import EXECUTION_LABEL, VERSION_LABEL, WORKFLOW_LABEL, idempotency_key
from foundation.clock import Clock
from foundation.errors import IpaasError, StorageUnavailable

logger = logging.getLogger("ipaas.admission.dispatcher")

CLAIM = timedelta(seconds=30)
"""How long a claimed execution is this dispatcher's; after a crash another one takes it then."""
TICK_SECONDS = 1.0
"""How often it looks for executions that another process accepted (the command line, another gateway)."""
MAX_BACKOFF_SECONDS = 5.0
SHOWN_DEPTH = 50
SHOWN_BYTES = 64 * 1024
"""An event up to this size is shown whole as the flow run's parameter; the worker reads it from the history anyway."""


class Dispatcher:
    """One per gateway.

    Args:
        on_dispatched: told how many runs were created, and when their executions had been accepted.
    """

    def __init__(
        self,
        store: HistoryStore,
        client: PrefectClient,
        clock: Clock,
        on_dispatched: Callable[[Sequence[Execution]], None] = lambda executions: None,
    ) -> None:
        self._store, self._client, self._clock = store, client, clock
        self._on_dispatched = on_dispatched
        self._poke = asyncio.Event()
        self._deployments: dict[str, str] = {}

    def poke(self) -> None:
        """Something was accepted."""
        self._poke.set()

    async def run(self) -> None:
        """Dispatches until cancelled."""
        backoff = TICK_SECONDS
        while True:
            try:
                while await self.dispatch_once():
                    pass
                backoff = TICK_SECONDS
                await self._wait(TICK_SECONDS)
            except (httpx.HTTPError, IpaasError, OSError) as error:
                logger.warning("could not hand executions to Prefect, trying again in %g s: %s", backoff, error)
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
            except Exception:
                logger.exception("could not hand executions to Prefect, trying again in %g s", backoff)
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._poke.wait()
        except TimeoutError:
            return
        self._poke.clear()

    async def dispatch_once(self) -> int:
        """Hands over one batch; how many there were.

        What fails of one workflow alone stays claimed for a while, so that it does not hold up the others'.

        Raises:
            httpx.HTTPError, StorageUnavailable: Prefect or the history does not answer; the claims are released.
        """
        now = self._clock.now()
        claimed = await self._store.claim(limit=BULK_LIMIT, now=now, until=now + CLAIM)
        by_workflow: dict[str, list[Execution]] = defaultdict(list)
        for execution in claimed:
            by_workflow[execution.workflow].append(execution)
        left = {execution.id for execution in claimed}
        try:
            for workflow, executions in by_workflow.items():
                try:
                    await self._dispatch(workflow, executions)
                except Exception as error:
                    if _is_away(error):
                        raise
                    again = f"trying again in {CLAIM.total_seconds():g} s"
                    logger.exception("workflow %s: could not hand its executions to Prefect, %s", workflow, again)
                left -= {execution.id for execution in executions}
        finally:
            if left:
                await self._store.release(sorted(left))
        return len(claimed)

    async def _dispatch(self, workflow: str, executions: Sequence[Execution]) -> None:
        deployment_id = await self._deployment(workflow)
        try:
            created = await self._create(deployment_id, executions)
        except httpx.HTTPStatusError as error:
            if not _is_gone(error):
                raise
            logger.warning("workflow %s: its Prefect deployment is gone, it is deployed again", workflow)
            created = await self._create(await self._deploy(workflow), executions)
        taken = {e.id: run for e, run in zip(executions, created, strict=True) if isinstance(run, str)}
        await self._store.dispatched(taken)
        self._on_dispatched([execution for execution in executions if execution.id in taken])
        refused = [run for run in created if not isinstance(run, str)]
        if refused:
            raise IpaasError(f"Prefect refused {len(refused)} runs of workflow {workflow}: {refused[0]}")

    async def _create(self, deployment_id: str, executions: Sequence[Execution]) -> Sequence[str | Exception]:
        """Creates their runs; what Prefect does not take with their events is tried without showing them."""
        runs = [_flow_run(deployment_id, execution, shown_event(execution.event)) for execution in executions]
        try:
            created = await create_flow_runs(self._client, UUID(deployment_id), runs)
            refused = next((run for run in created if not isinstance(run, str)), None)
        except Exception as error:
            if _is_away(error) or _is_gone(error):
                raise
            refused = error
        if refused is None:
            return created
        logger.warning("Prefect did not take runs as they were, trying without their events: %s", refused)
        runs = [
            _flow_run(deployment_id, execution, hidden_event(execution.event, "Prefect did not take it"))
            for execution in executions
        ]
        return await create_flow_runs(self._client, UUID(deployment_id), runs)

    async def _deployment(self, workflow: str) -> str:
        if workflow not in self._deployments:
            known = await self._store.workflow(workflow)
            found = (known and known.deployment_id) or await find_deployment(self._client, workflow)
            self._deployments[workflow] = found or await self._deploy(workflow)
        return self._deployments[workflow]

    async def _deploy(self, workflow: str) -> str:
        """Makes the deployment of a published workflow that Prefect does not know (its database is new)."""
        known = await self._store.workflow(workflow)
        if known is None:
            raise IpaasError(f"workflow {workflow} is not in the history")
        self._deployments[workflow] = await deploy_version(self._client, self._store, known.current)
        return self._deployments[workflow]


def _flow_run(deployment_id: str, execution: Execution, event: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"{execution.workflow}/{execution.id}",
        "parameters": {"event": event},
        "enforce_parameter_schema": False,  # the gateway has checked the workflow's `input` already
        "idempotency_key": idempotency_key(deployment_id, execution.id),
        "labels": {
            EXECUTION_LABEL: execution.id,
            WORKFLOW_LABEL: execution.workflow,
            VERSION_LABEL: execution.version,
            **({TRACE_LABEL: execution.trace} if execution.trace else {}),
        },
        "tags": [str(execution.trigger)],
    }


def shown_event(event: dict[str, Any]) -> dict[str, Any]:
    """The event as the flow run's parameter: for people to see, never for the workflow to read.

    What a sender may send is not always for Prefect: its server caps parameters, and it *renders* them: a dict with the
    key `__prefect_kind` is taken as an instruction (a template, a variable to look up). A run with deeply nested
    parameters can't be read any more, nor can the list of runs that it is in, which every worker asks for.
    """
    reason = _not_shown_because(event)
    return hidden_event(event, reason) if reason else event


def hidden_event(event: dict[str, Any], reason: str) -> dict[str, Any]:
    shown = {"id": event.get("id"), "received_at": event.get("received_at")}
    return {**shown, "body": f"not shown here: {reason}; see the execution's event"}


def _not_shown_because(event: dict[str, Any]) -> str | None:
    try:
        text = json.dumps(event, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except ValueError:  # a number beyond what JSON's readers take; half of a surrogate pair
        return "it has a value that has no form in UTF-8 JSON"
    if size > SHOWN_BYTES:
        return f"{size} bytes"
    if "__prefect_kind" in text:
        return "it has a key that Prefect would act on"
    if "\\u0000" in text:
        return "it has a NUL character, which PostgreSQL does not take"
    if _depth(event) > SHOWN_DEPTH:
        return f"it is nested more than {SHOWN_DEPTH} levels deep"
    return None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return depth


def _is_gone(error: Exception) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 404


def _is_away(error: Exception) -> bool:
    """Prefect or the history does not answer: no other workflow would fare better."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (429, 502, 503, 504)
    return isinstance(error, (httpx.HTTPError, StorageUnavailable, OSError))
