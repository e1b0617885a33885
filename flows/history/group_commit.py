"""Group commit: writes that arrive while a commit is under way share the next one.

A durable commit costs a disk flush, whatever it holds. So one task at a time commits; whoever comes meanwhile waits
and goes with the next batch. A caller is answered after the commit that holds its write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Connection

from foundation.errors import StorageUnavailable

T = TypeVar("T")
R = TypeVar("R")

Write = Callable[[Connection, Sequence[T]], Sequence[R]]
"""Writes many items inside a transaction; one result per item, in order. It may be run again after a rollback."""

Commit = Callable[[Callable[[Connection], list[Any]]], Awaitable[list[Any]]]
"""Runs the given work in one transaction and returns its result once that is durable."""

MAX_BATCH = 128
"""Calls in one commit: bounds how long a call waits for its neighbours."""


@dataclass(frozen=True)
class _Call:
    write: Write[Any, Any]
    item: Any
    answer: asyncio.Future[Any]


class GroupCommit:
    def __init__(self, commit: Commit, *, max_batch: int = MAX_BATCH) -> None:
        self._commit, self._max_batch = commit, max_batch
        self._waiting: deque[_Call] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, write: Write[T, R], item: T) -> R:
        """Writes one item, in the order of the calls, and returns its result after the commit.

        A call that is cancelled before its batch begins is not written; later, it may be.
        Raises what `write` raised for this item, or StorageUnavailable.
        """
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(write, item, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await answer

    async def flush(self) -> None:
        """Returns when nothing is waiting."""
        while self._task is not None and not self._task.done():
            await asyncio.shield(self._task)

    async def _drain(self) -> None:
        batch: list[_Call] = []
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
                batch = [call for call in batch if not call.answer.done()]
                if batch:
                    await self._write(batch)
        finally:  # cancelled from outside: nobody may wait for ever
            for call in (*batch, *self._waiting):
                call.answer.cancel()
            self._waiting.clear()

    async def _write(self, batch: Sequence[_Call]) -> None:
        def work(connection: Connection) -> list[Any]:
            results: list[Any] = []
            for write, calls in groupby(batch, key=lambda call: call.write):
                results += write(connection, [call.item for call in calls])
            return results

        try:
            results = await self._commit(work)
        except StorageUnavailable as error:
            for call in batch:
                own = type(error)(str(error))
                own.__cause__ = error.__cause__
                _fail(call, own)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the caller whose write it was
            if len(batch) == 1:
                _fail(batch[0], error)
            else:  # nothing was written; alone, each fails or succeeds for itself
                for call in batch:
                    await self._write([call])
        else:
            for call, result in zip(batch, results, strict=True):
                if not call.answer.done():
                    call.answer.set_result(result)


def _fail(call: _Call, error: Exception) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)
