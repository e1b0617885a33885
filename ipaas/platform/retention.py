"""Nothing grows without end: what ended long ago is deleted, a little at a time, so that senders never wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from flows.history import HistoryStore
from foundation.clock import Clock
from foundation.errors import IpaasError

logger = logging.getLogger("ipaas.retention")

PRUNE_SECONDS = 300.0
PAUSE_SECONDS = 0.05
"""Between two transactions: whoever waits for the database gets it."""
KEPT_VERSIONS = 10
"""Of each workflow the newest ones, however old: what may be gone back to."""


async def prune(
    store: HistoryStore, clock: Clock, *, older_than: float, keep: int | None = None, batch: int = 200
) -> int:
    """Deletes ended executions with their events and steps, dedupe keys whose time is over, and old versions of
    workflows that no execution needs.

    Any number of processes may do it at once. What waits or runs is never deleted, however old.

    Args:
        older_than: seconds; executions that ended longer ago go.
        keep: of the others, this many are kept: those that ended last. None: all.
        batch: rows in one transaction.

    Returns:
        How many executions went.

    Raises:
        StorageUnavailable: the database does not answer.
    """
    now = clock.now()
    before = _earlier(now, older_than)
    if keep is not None and (last_kept := await store.end_of_newest(keep)):
        before = max(before, last_kept)
    gone = await _in_batches(lambda: store.prune(before=before, limit=batch), batch, clock)
    await _in_batches(lambda: store.forget_deliveries(limit=batch), batch, clock)
    await store.prune_versions(before=_earlier(now, older_than), keep=KEPT_VERSIONS)
    while await store.compact():
        await clock.sleep(PAUSE_SECONDS)
    return gone


def _earlier(now: datetime, seconds: float) -> datetime:
    try:
        return now - timedelta(seconds=seconds)
    except OverflowError:
        return datetime.min.replace(tzinfo=now.tzinfo)


async def _in_batches(delete: Callable[[], Awaitable[int]], batch: int, clock: Clock) -> int:
    gone = 0
    while went := await delete():
        gone += went
        if went < batch:
            break
        await clock.sleep(PAUSE_SECONDS)
    return gone


class Retention:
    """Prunes every few minutes. One per gateway; several do no harm.

    Args:
        older_than: seconds that ended executions are kept.
        keep: how many of them at most; None: any number.
    """

    def __init__(self, store: HistoryStore, clock: Clock, older_than: float, keep: int | None = None) -> None:
        self._store, self._clock, self._older_than, self._keep = store, clock, older_than, keep

    async def run(self) -> None:
        """Prunes until cancelled; while the database is away, the next round tries again."""
        while True:
            try:
                if gone := await prune(self._store, self._clock, older_than=self._older_than, keep=self._keep):
                    logger.info("%d ended executions were deleted: their retention is over", gone)
            except IpaasError as error:
                logger.warning("could not delete old executions: %s", error)
            await asyncio.sleep(PRUNE_SECONDS)
