"""What a contestant's processes cost: CPU seconds and memory, by part."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psutil

MIB = 1024 * 1024
DATABASE = "database"


@dataclass(frozen=True)
class Tree:
    """Processes with their children.

    Args:
        roots: the process ids that were started.
        part: what a process is, by its command line.
        databases: names of PostgreSQL databases; the server's processes that serve them are the part DATABASE, as far
            as they are on this machine and may be seen.
    """

    roots: Sequence[int]
    part: Callable[[Sequence[str]], str]
    databases: Sequence[str] = ()

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far. A process that has ended counts with its parent, once that has waited for it."""
        spent: dict[str, float] = defaultdict(float)
        for part, process in self._processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                spent[part] += times.user + times.system
                if part != DATABASE:
                    spent[part] += times.children_user + times.children_system
        return dict(spent)

    def memory(self) -> dict[str, float]:
        """MiB. What processes share is counted once in all (PSS). A PostgreSQL server's memory is not told."""
        held: dict[str, float] = defaultdict(float)
        for part, process in self._processes():
            if part != DATABASE:
                with contextlib.suppress(psutil.Error):
                    held[part] += process.memory_full_info().pss / MIB
        return dict(held)

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        for root in self.roots:
            with contextlib.suppress(psutil.Error):
                top = psutil.Process(root)
                for process in (top, *top.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        yield self.part(process.cmdline()), process
        if self.databases:
            for process in psutil.process_iter(["cmdline"]):
                title = " ".join(process.info["cmdline"] or ())
                if title.startswith("postgres:") and any(name in title.split() for name in self.databases):
                    yield DATABASE, process


def since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was added, by part."""
    return {part: max(0.0, value - before.get(part, 0.0)) for part, value in after.items()}


def at_rest(tree: Tree, seconds: float) -> dict[str, float]:
    """CPU seconds a second while nothing is asked, by part."""
    before = tree.cpu()
    time.sleep(seconds)
    return {part: spent / seconds for part, spent in since(before, tree.cpu()).items()}


def settle(tree: Tree, resting: Mapping[str, float], most: float = 20.0) -> None:
    """Waits until the processes do no more than at rest: runs are recorded and tidied up after their effects."""
    end = time.monotonic() + most
    usual = sum(resting.values())
    while time.monotonic() < end:
        if sum(at_rest(tree, 1.0).values()) < usual * 1.5 + 0.05:
            return
