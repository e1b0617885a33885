"""The runs of one deployment in one worker: which run here, which wait, and whether another one may start.

Prefect holds a deployment's limit over all workers. A worker that asks for more than is free is refused, and the run
comes back seconds later; many refusals cost Prefect more than the runs themselves. So a worker learns its share: what
it was refused it does not ask for again at once, and then asks for one more at a time. A run that ends here makes room
for the next one here.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

from prefect.client.schemas.objects import FlowRun

DEFAULT_LIMIT = 10
ASK_AGAIN_SECONDS = 2.0
"""How long after a refusal a further slot is asked for."""


class Lane:
    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.limit_read = DEFAULT_LIMIT, datetime.min.replace(tzinfo=UTC)
        self.running: set[UUID] = set()
        self.waiting: OrderedDict[UUID, FlowRun] = OrderedDict()
        self.has_more = False
        """Prefect has further runs, which are fetched once those that wait here have begun."""
        self._monotonic = monotonic
        self._share: int | None = None
        self._ask_again = 0.0
        self._has_rivals = False

    @property
    def has_room(self) -> bool:
        """Whether a slot should be asked for."""
        running = len(self.running)
        if running >= self.limit or self._share is None:
            return running < self.limit
        return running < self._share or (running == self._share and self._monotonic() >= self._ask_again)

    def add(self, run: FlowRun) -> None:
        """A run that may start; it waits for `start_next`."""
        if run.id not in self.running:
            self.waiting[run.id] = run

    def start_next(self) -> FlowRun:
        """Takes the oldest that waits; when other workers do so too, any of the oldest, so that they seldom clash."""
        oldest = min(self.limit, len(self.waiting)) if self._has_rivals else 1
        chosen = next(islice(self.waiting, random.randrange(oldest), None))  # noqa: S311 - no secret
        self.running.add(chosen)
        return self.waiting.pop(chosen)

    def granted(self) -> None:
        """Prefect let a run start here."""
        if self._share is not None:
            self._share = max(self._share, len(self.running))

    def refused(self) -> None:
        """Prefect had no slot for a run that was to start here: other workers hold them."""
        self._has_rivals = True
        self._share = len(self.running) - 1
        self._ask_again = self._monotonic() + ASK_AGAIN_SECONDS

    def begun_elsewhere(self, flow_run_id: UUID) -> None:
        self._has_rivals = True
        self.waiting.pop(flow_run_id, None)
