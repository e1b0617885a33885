"""Whose turn it is in one worker: the runs that wait for it, one lane a deployment, and the lanes take turns.

The history decides what may run, and Prefect holds no more than that. But a worker may have room for less (`--limit`):
then the lane goes next that went longest ago, so that no workflow's runs wait behind all of another's.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from prefect.client.schemas.objects import FlowRun

from flows.on_prefect.run import EXECUTION_LABEL, label


@dataclass
class Lane:
    """The runs of one deployment.

    Attributes:
        limit: how many may be under way in Prefect at once. A slot that an execution left is free in the history a
            moment before it is in Prefect: what waits for that moment here is not refused there.
        has_more: Prefect has further ones, which are fetched once those that wait here have begun.
    """

    limit: int | None = None
    running: set[UUID] = field(default_factory=set)
    waiting: OrderedDict[UUID, FlowRun] = field(default_factory=OrderedDict)
    has_more: bool = False
    has_rivals: bool = False
    """Other workers take from this deployment, too."""
    admitted: set[UUID] = field(default_factory=set)
    """Runs that Prefect made, whose executions are known to be admitted."""
    counting: set[UUID] = field(default_factory=set)
    """Runs that Prefect made, which are just being counted in the history."""

    @property
    def is_full(self) -> bool:
        return self.limit is not None and len(self.running) >= self.limit

    @property
    def can_start(self) -> bool:
        return bool(self.waiting) and not self.is_full

    def add(self, run: FlowRun) -> None:
        """One that may start."""
        if run.id not in self.running and run.id not in self.counting:
            self.waiting[run.id] = run

    def start_next(self) -> FlowRun:
        """Takes the oldest that waits; beside other workers any of the oldest, so that they seldom want the same."""
        oldest = min(self.limit or 1, len(self.waiting)) if self.has_rivals else 1
        chosen = next(islice(self.waiting, random.randrange(max(oldest, 1)), None))  # noqa: S311 - no secret
        self.running.add(chosen)
        self.admitted.discard(chosen)
        return self.waiting.pop(chosen)

    def uncounted(self) -> list[FlowRun]:
        """Takes out what waits for a slot and does not count in the history yet, because Prefect made it."""
        if not self.is_full:
            return []
        found = [
            run for run in self.waiting.values() if run.id not in self.admitted and label(run, EXECUTION_LABEL) is None
        ]
        self.counting |= {run.id for run in found}
        return [self.waiting.pop(run.id) for run in found]

    def counted(self, run: FlowRun, *, admitted: bool) -> None:
        """One that was taken out: it may run, or waits in Prefect for its turn."""
        self.counting.discard(run.id)
        if admitted:
            self.admitted.add(run.id)
            self.add(run)

    def begun_elsewhere(self, flow_run_id: UUID) -> None:
        self.has_rivals = True
        self.waiting.pop(flow_run_id, None)


class Lanes:
    """All of a worker's.

    Args:
        limit: how many runs the worker has at once; None: as many as may run.
        beside: how many it has that come by no lane.
    """

    def __init__(self, limit: int | None = None, beside: Callable[[], int] = lambda: 0) -> None:
        self._limit, self._beside = limit, beside
        self._lanes: OrderedDict[UUID, Lane] = OrderedDict()
        """The one that started something last is last."""

    def __getitem__(self, deployment_id: UUID) -> Lane:
        """The deployment's; a new one goes first."""
        if deployment_id not in self._lanes:
            self._lanes[deployment_id] = Lane()
            self._lanes.move_to_end(deployment_id, last=False)
        return self._lanes[deployment_id]

    def get(self, deployment_id: UUID) -> Lane | None:
        return self._lanes.get(deployment_id)

    def has(self, run: FlowRun) -> bool:
        lane = self._lanes.get(run.deployment_id) if run.deployment_id else None
        return lane is not None and (run.id in lane.waiting or run.id in lane.running)

    @property
    def waiting(self) -> set[UUID]:
        """The deployments that have runs waiting here."""
        return {deployment_id for deployment_id, lane in self._lanes.items() if lane.waiting}

    @property
    def room(self) -> float:
        """How many more the worker may have."""
        if self._limit is None:
            return math.inf
        return self._limit - self._beside() - sum(len(lane.running) for lane in self._lanes.values())

    def start_next(self) -> tuple[FlowRun, Lane] | None:
        """The run that starts now, if one may."""
        if self.room <= 0:
            return None
        for deployment_id, lane in self._lanes.items():
            if lane.can_start:
                self._lanes.move_to_end(deployment_id)
                return lane.start_next(), lane
        return None

    def uncounted(self) -> list[tuple[FlowRun, Lane]]:
        """See `Lane.uncounted`."""
        return [(run, lane) for lane in self._lanes.values() for run in lane.uncounted()]

    def more_is_there(self) -> None:
        """Prefect did not show all."""
        for lane in self._lanes.values():
            lane.has_more = True
