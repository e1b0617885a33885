"""The benchmarks of single parts, each with a peer that is measured in the same run."""

from __future__ import annotations

from pathlib import Path

from benchmarks import accepting, checking, rendering, starting, unit_tests


def measure(folder: Path) -> list[tuple[str, str, str, str]]:
    """What, here, peer, ratio. `folder` is for what they write."""
    return [
        *rendering.measure(),
        *unit_tests.measure(),
        *checking.measure(folder),
        *accepting.measure(folder),
        *starting.measure(folder),
    ]
