"""`make bench`: the same work for prefect-ipaas and its peers, and the benchmarks of single parts.

The tables go to the standard output, everything that was measured to .bench/results.json. A run with all peers writes
docs/performance.md, too; one with some goes to .bench/results-of-some.json. `--render` makes page and tables anew of
the last run with all peers.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks import page, small
from benchmarks.contestants import PEERS, contestants
from benchmarks.contestants.environments import CACHE
from benchmarks.race import Plan, race
from benchmarks.results import Report
from benchmarks.tables import SECTIONS

RESULTS = CACHE / "results.json"
PARTIAL = CACHE / "results-of-some.json"
"""Of a run without all peers: the page is not made of it."""


def main() -> None:
    asked = _arguments()
    whole = asked.peers == "all" and not asked.only
    if asked.render:
        report = Report.load(RESULTS)
    else:
        report = _measured(asked)
        CACHE.mkdir(exist_ok=True)
        report.save(RESULTS if whole else PARTIAL)
    for name, section in SECTIONS.items():
        print(f"\n## {name}\n\n{section(report)}")
    if asked.render or whole:
        page.write(report)
        print(f"\nwritten: {page.PAGE}", file=sys.stderr)


def _measured(asked: argparse.Namespace) -> Report:
    chosen = contestants(asked.peers)
    if asked.only:
        chosen = [one for one in chosen if one.key in asked.only.split(",")]
    quick = asked.peers == "none"
    plan = Plan(
        rounds=asked.rounds or (1 if quick else 3),
        storm_seconds=asked.storm or (5 if quick else 10),
        sustain_seconds=asked.sustain if asked.sustain is not None else (0 if quick else 60),
    )
    machine = _machine()
    with tempfile.TemporaryDirectory(prefix="ipaas-bench-") as folder:
        parts = small.measure(Path(folder)) if asked.small else []
        results = race(chosen, plan, Path(folder))
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return Report(machine, os.cpu_count() or 1, when, results, parts)


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    what = f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}, Python {platform.python_version()}"
    return f"{what}, load average {os.getloadavg()[1]:.1f} before it began"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--peers", default="all", help=f"all, none, or some of {', '.join(PEERS)}, with commas between")
    parser.add_argument("--only", help="only these contestants, by key: express,dbos-postgres")
    parser.add_argument("--rounds", type=int, help="default: 3; without peers 1")
    parser.add_argument(
        "--storm", type=float, metavar="SECONDS", help="about how long a storm takes; default: 10, or 5"
    )
    parser.add_argument("--sustain", type=float, metavar="SECONDS", help="of steady load; default: 60, or none")
    parser.add_argument(
        "--no-small", dest="small", action="store_false", help="leave out the benchmarks of single parts"
    )
    parser.add_argument("--render", action="store_true", help="measure nothing; write the page of the last results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
