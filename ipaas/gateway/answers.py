"""`respond: {when: finished}`: the sender is held until its execution has ended, and gets its result."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive

from flows.history import Execution, Status
from flows.language.definition import Respond
from ipaas.gateway.callers import Callers
from ipaas.gateway.hooks import Hook
from ipaas.gateway.json_response import JsonResponse
from ipaas.gateway.metrics import Metrics
from ipaas.gateway.problems import problem_response
from ipaas.gateway.waiting import Waiting

logger = logging.getLogger("ipaas.gateway")

Cancel = Callable[[str], Awaitable[None]]
"""Cancels an execution, by its id, whose sender hung up."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OF_THE_CONNECTION = frozenset(
    {"connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"}
)


@dataclass
class Answers:
    waiting: Waiting
    callers: Callers
    metrics: Metrics
    cancel: Cancel

    async def result(self, hook: Hook, respond: Respond, execution_id: str, receive: Receive) -> Response | None:
        """What the workflow answers; a problem if it failed; None if it has no answer, or none in time.

        Args:
            respond: what the execution's version says of its answer.
            receive: tells when the sender hangs up.
        """
        execution = await self._end(hook, respond, execution_id, receive)
        if execution is None:
            return None
        if execution.status is not Status.SUCCEEDED:
            status = 504 if execution.status is Status.TIMED_OUT else 500
            return problem_response(status, _failure(execution), execution_id=execution_id)
        if execution.answer is None:  # it began as a version that answers when the event is accepted
            return None
        try:
            return _sent(execution.answer)
        except (KeyError, ValueError, TypeError) as error:
            logger.error("workflow %s: %s", hook.workflow, error)
            return problem_response(500, str(error), execution_id=execution_id)

    async def _end(self, hook: Hook, respond: Respond, execution_id: str, receive: Receive) -> Execution | None:
        if respond.on_disconnect == "continue":
            execution, left = await self._end_or_departure(execution_id, respond.timeout, receive)
            is_forsaken = False
        else:
            await self.callers.arrived(execution_id, respond.timeout)
            execution, left = await self._end_or_departure(execution_id, respond.timeout, receive)
            is_forsaken = await self.callers.left(execution_id, has_ended=execution is not None) and left
        if left:
            self.metrics.hung_up.labels(hook.workflow).inc()
        if is_forsaken:
            await self.cancel(execution_id)
        return execution

    async def _end_or_departure(
        self, execution_id: str, timeout: float, receive: Receive
    ) -> tuple[Execution | None, bool]:
        """The execution if it ended in time, and whether the sender hung up before."""
        ended = asyncio.create_task(self.waiting.wait(execution_id, timeout))
        hung_up = asyncio.create_task(_hang_up(receive))
        try:
            await asyncio.wait({ended, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            return (ended.result(), False) if ended.done() else (None, True)
        finally:
            for task in (ended, hung_up):
                task.cancel()
            await asyncio.wait({ended, hung_up})


async def _hang_up(receive: Receive) -> None:
    """Returns when the sender has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _sent(answer: Mapping[str, Any]) -> Response:
    """Raises ValueError, TypeError, KeyError: there is no such answer."""
    if "problem" in answer:
        raise ValueError(answer["problem"])
    try:
        return as_response(answer["status"], answer["body"], answer["headers"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"respond: {error}") from None


def as_response(status: Any, body: Any, headers: dict[str, Any]) -> Response:
    """What a workflow wants answered. A text is sent as it is, anything else as JSON.

    Raises:
        ValueError, TypeError: no such answer can be sent.
    """
    code = int(status)
    if not 200 <= code <= 599:
        raise ValueError(f"{code} is no status to answer with")
    lines = {name.lower(): _header(name, str(value)) for name, value in headers.items()}
    if code in (204, 205, 304):
        return Response(status_code=code, headers=lines)
    if isinstance(body, str):
        return Response(body, status_code=code, headers={"content-type": "text/plain; charset=utf-8"} | lines)
    return JsonResponse(body, status_code=code, headers=lines)


def _header(name: str, value: str) -> str:
    if not _HEADER_NAME.fullmatch(name) or name.lower() in _OF_THE_CONNECTION:
        raise ValueError(f"{name!r} is no header that a workflow can set")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"header {name}: {value!r} can't be sent in a header")
    return value


def _failure(execution: Execution) -> str:
    message = (execution.error or {}).get("message")
    return str(message) if message else f"the execution ended as {execution.status}"
