"""What the benchmark needs of whoever takes part."""

from __future__ import annotations

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import Target
from benchmarks.processes import Tree


class Work(StrEnum):
    """What every contestant does with an event."""

    ONE = "one"
    """Sends one request to the receiver; the sender is answered at once."""
    THREE = "three"
    """Sends three, one after the other."""
    ANSWER = "answer"
    """Sends one, and answers the sender when that is done."""

    @property
    def steps(self) -> int:
        return 3 if self is Work.THREE else 1

    @property
    def effect(self) -> str:
        """The receiver's path where the last request arrives."""
        return f"/{self}/{self.steps}"


class Unavailable(Exception):
    """The contestant cannot take part here; the message says why."""


@dataclass
class Running:
    """A contestant that has been started. It is ready once a target takes an event."""

    tree: Tree
    targets: Mapping[Work, Target]
    """What it can do of the work."""
    processes: Sequence[subprocess.Popen[bytes]] = field(default_factory=list)

    def stop(self) -> None:
        stop(self.processes)


class Contestant(ABC):
    key: str
    """A short name for the command line, and for file names."""
    title: str
    version: str
    store: str
    """Where it keeps its runs."""

    @abstractmethod
    def prepare(self, home: Path, receiver: str) -> None:
        """Installs it, and lays out its work in an empty folder. `receiver` is a URL. Raises Unavailable."""

    @abstractmethod
    def start(self) -> Running:
        """Starts it, on what earlier starts have left. Raises Unavailable."""

    def clear(self) -> None:  # noqa: B027 - most have nothing to do
        """After the last stop: removes what lies outside the home."""


def start(
    argv: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """A process whose output goes to a file, with this environment on top of a clean one."""
    with log.open("ab") as out:
        return subprocess.Popen(argv, env=clean_environment() | dict(env or {}), cwd=cwd, stdout=out, stderr=out)


def run(argv: Sequence[str], log: Path, **options: Any) -> None:
    """The same, to its end. Raises Unavailable with the last of what it said."""
    process = start(argv, log, **options)
    if process.wait(1800):
        raise Unavailable(f"`{' '.join(map(str, argv[:4]))} …` failed: {last_line(log)}")


def clean_environment() -> dict[str, str]:
    """Ours, less what is set for the platform or Prefect."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "IPAAS_", "DBOS_"))}


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "it said nothing"


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """SIGTERM, then SIGKILL to those and their children that are still there after 30 s."""
    for process in reversed(processes):
        if process.poll() is not None:
            continue
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        _, left = psutil.wait_procs(children, 5)
        for child in left:
            child.kill()
