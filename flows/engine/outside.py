"""What an execution has to do with others: signals, called workflows, and the addresses it can be answered at."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from flows.engine.flow_keys import flow_keys
from flows.engine.parking import Parking
from flows.history import Delivery, Execution, NewExecution, NewWait, Trigger, signal_address
from flows.language.definition import Declaration
from flows.language.event import Event
from flows.language.input_schema import check_input
from flows.language.step import Answer, Ended
from foundation.errors import IpaasError, NotFound
from foundation.ids import new_id

if TYPE_CHECKING:
    from flows.engine.runtime import Runtime

KEPT_SECONDS: Final = 7 * 86_400.0
"""How long a signal, a callback or a decision is kept that comes before anybody waits for it."""
DEEPEST: Final = 20
"""How many workflows may call each other, one inside the other."""
_CALLED_TIME: Final = timedelta(days=30)


class Recursion(IpaasError):
    """Too many workflows called each other, as when one calls itself without an end."""

    code = "recursion"


class Outside(Protocol):
    """One execution's."""

    def callback(self, kind: str, path: str) -> str:
        """The address that a step can be answered at."""
        ...

    async def wait(self, wait: NewWait, parking: Parking) -> Answer | None:
        """Raises Parked, as soon as nothing of the execution goes on but waits."""
        ...

    async def signal(self, name: str, body: Any) -> bool: ...
    async def start(self, workflow: str, body: Any, path: str, *, answers: bool) -> str: ...
    async def ended(self, execution_id: str) -> Ended: ...


class HistoryOutside:
    """Through the history, which everybody shares."""

    def __init__(self, runtime: Runtime, execution: Execution) -> None:
        self._runtime, self._store, self._execution = runtime, runtime.store, execution

    def callback(self, kind: str, path: str) -> str:
        return self._runtime.callbacks.url(kind, self._execution.id, path)

    async def wait(self, wait: NewWait, parking: Parking) -> Answer | None:
        await parking.park(wait)

    async def signal(self, name: str, body: Any) -> bool:
        by = f"{self._execution.workflow} ({self._execution.id})"
        delivery = await self._store.answer(signal_address(name), body, by=by, keep=KEPT_SECONDS)
        self._runtime.more_may_start()
        return delivery is Delivery.DELIVERED

    async def start(self, workflow: str, body: Any, path: str, *, answers: bool) -> str:
        depth = self._execution.depth + 1
        if depth > DEEPEST:
            raise Recursion(f"{workflow} is not called: {DEEPEST} workflows have called each other already")
        known = await self._store.workflow(workflow)
        if known is None:
            raise NotFound(f"no workflow {workflow}; a workflow that is called must have been deployed")
        event = Event(body=body)
        declaration, document = Declaration.model_validate(known.current.declaration), event.document()
        check_input(declaration, event.body)
        flow = flow_keys(declaration, document, self._runtime.services.masker)
        now = self._runtime.clock.now()
        called = NewExecution(
            id=new_id(),
            workflow=workflow,
            version=known.current.version,
            trigger=Trigger.CALL,
            event=document,
            accepted_at=now,
            parent_id=self._execution.id,
            parent_path=path if answers else None,
            depth=depth,
            dedupe_keys=[f"call:{self._execution.id}:{path}"],  # the step may run again after a crash
            dedupe_until=now + _CALLED_TIME,
            keys=flow.keys,
            priority=flow.priority,
        )
        [accepted] = await self._store.accept([called])
        self._runtime.more_may_start()
        return accepted.execution_id

    async def ended(self, execution_id: str) -> Ended:
        execution = await self._store.execution(execution_id)
        if execution is None:
            raise NotFound(f"the called execution {execution_id} is not in the history any more")
        return execution
