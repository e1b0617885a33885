"""`Waits` in memory, and how executions end: whoever called one is answered."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flows.history.memory.state import Kept, KeptAnswer, MemoryState, stored
from flows.history.records import Delivery, Json, NewWait, Status, Wait, WaitKind, is_step_address, step_address
from flows.history.rows import KEPT_FOR_CALLER


class MemoryWaits(MemoryState):
    async def answer(self, address: str, answer: Json, *, by: str | None, keep: float) -> Delivery:
        return self._answer(address, answer, by, keep)

    def _answer(self, address: str, answer: Json, by: str | None, keep: float) -> Delivery:
        now, answer = self._clock.now(), stored(answer)
        waiting = [wait for wait in self._waits_at(address) if wait.ended_at is None]
        if waiting:
            first = min(waiting, key=_age)
            self._end(first, answered=True, answer=answer, answered_by=by)
            return Delivery.DELIVERED
        kept = self._kept_answers.get(address)
        answered = is_step_address(address) and any(True for _ in self._waits_at(address))
        if answered or (kept and kept.expires_at > now):
            return Delivery.KNOWN
        self._kept_answers[address] = KeptAnswer(answer, by, now + timedelta(seconds=keep))
        return Delivery.KEPT

    async def wait_at(self, address: str) -> Wait | None:
        found = sorted(self._waits_at(address), key=lambda wait: (wait.ended_at is None, wait.begun_at))
        return copy.deepcopy(found[-1]) if found else None

    async def open_waits(self, kind: WaitKind, *, limit: int) -> Sequence[Wait]:
        found = [wait for wait in self._all_waits() if wait.kind is kind and wait.ended_at is None]
        return copy.deepcopy(sorted(found, key=_age)[:limit])

    async def wake(self, *, limit: int) -> int:
        now = self._clock.now()
        due = sorted((w.due_at, _age(w), w) for w in self._all_waits() if w.ended_at is None and w.due_at is not None)
        over = [wait for due_at, _, wait in due if due_at <= now][:limit]
        for wait in over:
            self._end(wait)
        return len(over)

    def _begin_waits(self, kept: Kept, new: Sequence[NewWait]) -> bool:
        """True when one of them has ended already."""
        now = self._clock.now()
        for one in new:
            if one.path not in kept.waits:
                begun = Wait(kept.id, one.path, one.kind, now, one.address, one.due_at, stored(one.document))
                kept.waits[one.path] = begun
        for one in sorted(new, key=lambda one: one.path):
            answer = self._kept_answers.get(one.address or "")
            if answer and kept.waits[one.path].ended_at is None:
                del self._kept_answers[one.address or ""]
                if answer.expires_at > now:
                    self._end(kept.waits[one.path], answered=True, answer=answer.answer, answered_by=answer.by)
        return any(kept.waits[one.path].ended_at for one in new)

    def _end(self, wait: Wait, **said: Any) -> None:
        kept = self._executions[wait.execution_id]
        kept.waits[wait.path] = replace(wait, ended_at=self._clock.now(), **said)
        if kept.status is Status.WAITING:
            kept.change(status=Status.ACCEPTED, parked_at=None)

    def _end_execution(self, kept: Kept, status: Status, **values: Any) -> None:
        kept.end(status, self._clock.now(), **values)
        execution = kept.execution
        if execution.parent_id and execution.parent_path is not None:
            address = step_address(execution.parent_id, execution.parent_path)
            self._answer(address, {"execution_id": kept.id, "status": status.value}, None, KEPT_FOR_CALLER)

    def _all_waits(self) -> Iterable[Wait]:
        return (wait for kept in self._executions.values() for wait in kept.waits.values())

    def _waits_at(self, address: str) -> Iterable[Wait]:
        return (wait for wait in self._all_waits() if wait.address == address)


def _age(wait: Wait) -> tuple[Any, ...]:
    return wait.begun_at, wait.execution_id, wait.path
