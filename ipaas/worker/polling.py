"""Polls: asks other systems what is new, and accepts an execution for each item that was not there before.

Every worker asks the history for a poll that is due; which of them gets it, and that nobody else polls it meanwhile, is
the history's to say. The action runs as a plain call, in no flow run. What it found is stored with what the poll has
seen, in one transaction: a worker that dies before has done nothing, and the next one finds the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from pydantic import ValidationError

from connectors.kit.attempts import run_attempts
from connectors.kit.call import Call
from connectors.kit.descriptions import DESCRIPTIONS
from connectors.kit.registry import registry
from flows.engine.failures import error_document
from flows.engine.flow_keys import flow_keys
from flows.engine.runtime import Runtime
from flows.history import Json, NewExecution, PollState, Trigger, WorkflowVersion
from flows.history.polled import declared_polls
from flows.language.definition import Declaration, Poll
from flows.language.event import Event
from flows.language.polling import CompiledPoll
from foundation.errors import IpaasError, NotFound, StorageUnavailable
from foundation.ids import new_id
from foundation.log_fields import log_fields
from foundation.tracing import annotate, mark_failed, span, traceparent

logger = logging.getLogger("ipaas.polls")

LOOK_SECONDS: Final = 1.0
"""How often it is asked whether a poll is due."""
POLL_SECONDS: Final = 60.0
"""How long a poll may take, its action's own retries included."""
CLAIM_SECONDS: Final = 90.0
"""How long a poll is one worker's: longer than it may take. After a crash it is polled again no later than this."""
MOST_AT_ONCE: Final = 8
FIRST_RETRY_SECONDS: Final = 30.0
LONGEST_RETRY_SECONDS: Final = 900.0
"""Between two tries of a poll that fails, unless its interval is longer."""


class BacklogFull(IpaasError):
    """So much waits already that nothing more is asked for."""

    code = "backlog"
    retriable = True


OnEnded = Callable[[PollState, bool], None]


class Poller:
    """One per worker.

    Args:
        backlog: how many executions may wait in all; while so many do, polls fail.
        on_accepted: called when executions were accepted.
        on_ended: told of every poll, and whether it went well.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        backlog: int,
        on_accepted: Callable[[], None] = lambda: None,
        on_ended: OnEnded = lambda poll, well: None,
    ) -> None:
        self._runtime, self._store = runtime, runtime.store
        self._backlog, self._on_accepted, self._on_ended = backlog, on_accepted, on_ended
        self._compiled: dict[tuple[str, str], tuple[str, CompiledPoll]] = {}
        """By workflow and source, with the version it is of."""

    async def run(self) -> None:
        """Polls what is due until cancelled; what is under way then is given back."""
        async with asyncio.TaskGroup() as group:
            under_way: set[asyncio.Task[None]] = set()
            while True:
                claimed = await self._claim() if len(under_way) < MOST_AT_ONCE else None
                if claimed is None:
                    await asyncio.sleep(LOOK_SECONDS)
                    continue
                task = group.create_task(self.poll(claimed))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    async def _claim(self) -> PollState | None:
        try:
            return await self._store.claim_poll(claim=CLAIM_SECONDS)
        except StorageUnavailable as error:
            logger.warning("could not look for polls that are due: %s", error)
            return None

    async def poll(self, claimed: PollState) -> None:
        """Polls once, and stores what came of it. What can't be stored is found again when the claim is over."""
        names = {"ipaas.workflow": claimed.workflow, "ipaas.poll": claimed.source}
        with log_fields(workflow=claimed.workflow), span("poll", names):
            try:
                try:
                    await self._poll(claimed)
                except StorageUnavailable:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, it is this poll's
                    await self._failed(claimed, error)
            except asyncio.CancelledError:
                with contextlib.suppress(StorageUnavailable):
                    await self._store.release_poll(claimed.hold)
                raise
            except StorageUnavailable as error:
                logger.warning("poll %s of workflow %s: %s", *_named(claimed), error)

    async def _poll(self, claimed: PollState) -> None:
        async with asyncio.timeout(POLL_SECONDS):
            await self._check_backlog()
            compiled, version = await self._trigger(claimed)
            output = await self._output(claimed, compiled)
            found = await asyncio.to_thread(compiled.items, output)
            known = await self._store.known_keys(claimed.hold, list(found))
            cursor = compiled.cursor(output)
        is_baseline = claimed.polled_at is None and compiled.poll.from_ == "now"
        fresh = [] if is_baseline else [item for key, item in found.items() if key not in known]
        bodies = [fresh] if fresh and compiled.poll.each == "batch" else fresh
        new = [self._execution(claimed, version, body) for body in bodies]
        if not await self._store.finish_poll(claimed.hold, keys=list(found), new=new, cursor=cursor):
            logger.warning("poll %s of workflow %s: it took too long, and is another one's", *_named(claimed))
            return
        annotate({"ipaas.items": len(found), "ipaas.executions": len(new)})
        self._on_ended(claimed, True)
        if new:
            logger.info("poll %s of workflow %s: %d new of %d", *_named(claimed), len(fresh), len(found))
            self._on_accepted()

    async def _check_backlog(self) -> None:
        waiting = sum((await self._store.backlog()).values())
        if waiting >= self._backlog:
            raise BacklogFull(
                f"{waiting} executions are waiting already: nothing more is asked for until some have begun"
            )

    async def _trigger(self, claimed: PollState) -> tuple[CompiledPoll, WorkflowVersion]:
        """The trigger as it is published now, and its version."""
        workflow = await self._store.workflow(claimed.workflow)
        declared = declared_polls(workflow.current.declaration).get(claimed.source) if workflow else None
        if workflow is None or declared is None:
            raise NotFound(f"workflow {claimed.workflow} has no poll {claimed.source} any more")
        version = workflow.current
        known, compiled = self._compiled.get((claimed.workflow, claimed.source), (None, None))
        if compiled is None or known != version.version:
            try:
                compiled = CompiledPoll(Poll.model_validate(declared), DESCRIPTIONS)
            except ValidationError as error:
                raise IpaasError(f"its trigger can't be read: {error}") from None
            self._compiled[claimed.workflow, claimed.source] = version.version, compiled
        return compiled, version

    async def _output(self, claimed: PollState, compiled: CompiledPoll) -> Json:
        action = registry().get(compiled.poll.uses)
        if action is None:
            raise NotFound(f"there is no action {compiled.poll.uses!r}")
        arguments = compiled.arguments(claimed.cursor, self._runtime.clock.now())
        call = Call(
            services=self._runtime.services,
            execution_id=f"{claimed.workflow}:{claimed.run}",
            path=claimed.source,
            logger=logger,
            wrote_host=compiled.wrote_host,
        )
        output, _ = await run_attempts(action.action_name, lambda: action.fn(**arguments), call=call)
        return output

    def _execution(self, claimed: PollState, version: WorkflowVersion, body: Json) -> NewExecution:
        now = self._runtime.clock.now()
        event = Event(body=body, received_at=now).document()
        declaration = Declaration.model_validate(version.declaration)
        flow = flow_keys(declaration, event, self._runtime.services.masker)
        return NewExecution(
            id=new_id(),
            workflow=claimed.workflow,
            version=version.version,
            trigger=Trigger.POLL,
            event=event,
            accepted_at=now,
            trace=traceparent(),
            keys=flow.keys,
            priority=flow.priority,
        )

    async def _failed(self, claimed: PollState, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            error = IpaasError(f"it took longer than {POLL_SECONDS:g} s")
        elif not isinstance(error, IpaasError):
            logger.exception("poll %s of workflow %s failed", *_named(claimed))
        document = error_document(error)
        document["message"] = self._runtime.services.masker.mask(document["message"])
        retry = retry_seconds(claimed.failures, claimed.every)
        mark_failed(document["code"], document["message"])
        if await self._store.fail_poll(claimed.hold, error=document, retry=retry):
            self._on_ended(claimed, False)
            again = f"trying again in {retry:g} s"
            logger.warning("poll %s of workflow %s: %s; %s", *_named(claimed), document["message"], again)


def retry_seconds(failures: int, every: float) -> float:
    """How long a poll rests that has failed, after having failed so often in a row before."""
    longest = max(every, LONGEST_RETRY_SECONDS)
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(failures, 30), longest)


def _named(claimed: PollState) -> tuple[Any, Any]:
    return claimed.source, claimed.workflow
