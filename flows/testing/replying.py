"""What comes from outside while a test's workflow waits: replies to its steps, and the workflows that it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flows.engine.outside import HistoryOutside
from flows.engine.parking import Parking
from flows.engine.program import Program
from flows.engine.runtime import Runtime
from flows.history import Execution, NewWait, WaitKind
from flows.language.input_schema import InputSchema
from flows.language.step import Answer
from foundation.errors import ActionError

Replies = Mapping[str, Any]
"""By the path of the step that waits: the body of its signal or callback, or the decision that it asks for,
`{"approved": True, "form": …, "by": …}`."""
Find = Callable[[str], Program]
"""Finds a workflow by its name. Raises NotFound."""


class RepliedOutside(HistoryOutside):
    """Replies as soon as a step waits. A called workflow is published when it is called."""

    def __init__(self, runtime: Runtime, execution: Execution, replies: Replies, find: Find) -> None:
        super().__init__(runtime, execution)
        self._replies = {} if execution.parent_id else replies
        self._find = find

    async def wait(self, wait: NewWait, parking: Parking) -> Answer | None:
        if wait.path not in self._replies:
            return await super().wait(wait, parking)
        body, by = self._replies[wait.path], None
        if wait.kind is WaitKind.APPROVAL:
            _check_decision(body, wait.document["form"])
            by, body = body.get("by"), {key: value for key, value in body.items() if key != "by"}
        return Answer(body, by, self._runtime.clock.now())

    async def start(self, workflow: str, body: Any, path: str, *, answers: bool) -> str:
        if await self._store.workflow(workflow) is None:
            await self._store.publish(self._find(workflow).version)
        return await super().start(workflow, body, path, answers=answers)


def _check_decision(reply: Any, schema: Any) -> None:
    """As the platform takes it: who rejects need not fill in the form. Raises ActionError."""
    if not (isinstance(reply, Mapping) and isinstance(reply.get("approved"), bool)):
        raise ActionError("the test's reply is no decision: {approved: true or false, form: …, by: …}")
    if schema is None or not reply["approved"]:
        return
    for error in InputSchema(schema).errors(reply.get("form"), most=1):
        raise ActionError(f"the test's reply does not fit the form: {error['path']}: {error['message']}")
