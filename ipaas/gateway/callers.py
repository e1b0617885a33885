"""Who waits for an execution's end, over all gateways: a sender that hangs up cancels only what nobody else waits for.

A delivery that is sent again may arrive at another gateway, which then waits for the same execution. So each gateway
notes in the history that it waits; a note ends by itself when its gateway has died.
"""

from __future__ import annotations

import logging
from collections import Counter

from flows import history
from foundation.errors import IpaasError
from foundation.ids import new_id

logger = logging.getLogger("ipaas.gateway")

GRACE_SECONDS = 5.0
"""For how long a note outlives the wait it is made for."""


class Callers:
    """This gateway's callers, and its notes.

    Args:
        notes: the history.
    """

    def __init__(self, notes: history.Callers) -> None:
        self._notes, self._gateway = notes, new_id()
        self._here: Counter[str] = Counter()

    async def arrived(self, execution_id: str, seconds: float) -> None:
        """Someone waits here from now on, for at most so long."""
        self._here[execution_id] += 1
        try:
            await self._notes.note_caller(execution_id, self._gateway, seconds=seconds + GRACE_SECONDS)
        except IpaasError as error:
            logger.warning("execution %s: other gateways don't know that it is waited for: %s", execution_id, error)

    async def left(self, execution_id: str, *, has_ended: bool) -> bool:
        """Someone waits no more: whether nobody does, anywhere. When that can't be told, someone may.

        Args:
            has_ended: the execution has; then its notes mean nothing any more.
        """
        self._here[execution_id] -= 1
        if self._here[execution_id]:
            return False
        del self._here[execution_id]
        if has_ended:
            return True
        try:
            return await self._notes.forget_caller(execution_id, self._gateway)
        except IpaasError as error:
            logger.warning("execution %s: nobody knows whether others wait for it: %s", execution_id, error)
            return False
