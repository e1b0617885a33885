"""docs/performance.md: its text is written by hand, what stands between its markers is made of the report."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from benchmarks import plots
from benchmarks.plots import Bar
from benchmarks.results import Report, Result, Round, Spread
from benchmarks.tables import SECTIONS, name

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"

_SECTION = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, report: Report, sections: Mapping[str, Callable[[Report], str]] = SECTIONS) -> str:
    """The page with the report's tables between its markers.

    Raises:
        KeyError: a marker names a section that does not exist.
    """
    return _SECTION.sub(lambda found: f"{found[1]}\n{sections[found[2]](report)}\n\n{found[3]}", text)


def write(report: Report) -> None:
    """The page and its plots."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")
    for image, svg in drawings(report).items():
        (IMAGES / f"performance-{image}.svg").write_text(svg, encoding="utf-8")


def drawings(report: Report) -> dict[str, str]:
    """The plots by name; those for which something was measured."""
    measured = [one for one in report.results if one.rounds]
    held = [(name(one), one.sustained) for one in measured if one.sustained and one.sustained.lag]
    out = {}
    if measured:
        out["rate"] = plots.bars("Runs a second, one step", _bars(measured, lambda own: own.one.rate), "/s")
        out["idle"] = plots.bars("POST to effect, idle, p50", _bars(measured, lambda own: own.idle.p50 * 1e3), "ms")
        warm = [one for one in measured if one.key != "prefect"]  # a process a run: seconds, beside which others vanish
        if warm:
            cpu = [(name(one), _by_part(one, lambda own: own.one.cpu_ms)) for one in warm]
            out["cpu"] = plots.stacks("CPU a run, one step, by process", cpu, "ms")
        memory = [(name(one), _by_part(one, lambda own: own.resting_memory)) for one in measured]
        out["memory"] = plots.stacks("Memory at rest, by process", memory, "MiB")
    if held:
        lag = {own: [(at, p50 * 1e3) for at, p50, _ in load.lag] for own, load in held}
        out["lag"] = plots.lines("Sustained load: from due to effect, p50", lag, "seconds", "ms")
        over_time = {own: [(at, sum(parts.values())) for at, parts in load.memory] for own, load in held}
        out["memory-over-time"] = plots.lines("Sustained load: memory", over_time, "seconds", "MiB")
    return out


def _bars(results: list[Result], number: Callable[[Round], float]) -> list[Bar]:
    spreads = [(name(one), Spread.of([number(own) for own in one.rounds])) for one in results]
    return [Bar(label, own.median, own.least, own.most) for label, own in spreads]


def _by_part(result: Result, numbers: Callable[[Round], Mapping[str, float]]) -> dict[str, float]:
    parts = dict.fromkeys(part for own in result.rounds for part in numbers(own))
    return {part: median(numbers(own).get(part, 0.0) for own in result.rounds) for part in parts}
