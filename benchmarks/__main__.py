"""Runs every benchmark and prints one table. Each has a peer that is measured in the same run: look at the ratios."""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

from benchmarks import accepting, checking, end_to_end, rendering, starting, unit_tests


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        rows = [
            *rendering.measure(),
            *unit_tests.measure(),
            *checking.measure(home),
            *accepting.measure(home),
            *end_to_end.measure(home),
            *starting.measure(home),
        ]
    print("| what | here | peer, in the same run | ratio |")
    print("| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {' | '.join(row)} |")


main()
