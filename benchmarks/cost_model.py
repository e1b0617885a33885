"""What the measured CPU times predict for other machines: which part is full first, and at how many runs a second."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """Runs a second when something is full: `full` is the part, or ALL_CORES."""

    rate: float
    full: str
    processes: Mapping[str, int]
    """How many of each part that takes: those that are full, and one that is not."""


ALL_CORES = "all cores"


def predict(cpu_ms: Mapping[str, float], cores: int, most: Mapping[str, int]) -> Prediction:
    """The model: every part's CPU time grows with the runs, a process fills one core, a machine all of its cores.

    It knows nothing of locks, of the disk, or of a scheduler's cost, so it is an upper bound.

    Args:
        cpu_ms: CPU milliseconds a run, by part; at least one is positive.
        cores: of the machine, or of all machines together.
        most: how many processes a part may have; a part that is not named may have as many as there are cores.

    Raises:
        ValueError: nothing costs anything.
    """
    costs = {part: own for part, own in cpu_ms.items() if own > 0}
    if not costs:
        raise ValueError("no part has a cost: nothing can be predicted")
    bounds = {part: most.get(part, cores) * 1000 / own for part, own in costs.items()}
    bounds[ALL_CORES] = cores * 1000 / sum(costs.values())
    rate, full = min((bound, part) for part, bound in bounds.items())
    processes = {part: max(1, math.ceil(round(rate * own / 1000, 9))) for part, own in costs.items()}
    return Prediction(rate, full, processes)
