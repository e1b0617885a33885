"""How far each step of a picture has come in one execution. Many records of one step, a loop's rounds, are counted."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from flows.history import Execution, StepExecution
from flows.language.graph import Graph, Node

UNFINISHED: Final = frozenset({"accepted", "running", "waiting"})
FAILED: Final = frozenset({"failed", "timed_out"})
_ROUND: Final = re.compile(r"(?P<loop>[^\[\]]+)\[(?P<number>\d+)\]\.?")


@dataclass(frozen=True)
class Record:
    """One step execution: as the history has it, or as the API gives it. What is secret in it is masked already.

    Attributes:
        input: what its action was called with, where that is known.
        total: how many rounds a loop has, where that is known.
    """

    path: str
    action: str
    status: str
    attempts: int = 1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output: Any = None
    error: Any = None
    input: Any = None
    total: int | None = None

    @property
    def step(self) -> str:
        """The step's id: the path without its rounds."""
        return _ROUND.sub("", self.path) or self.rounds[-1][0]

    @property
    def rounds(self) -> list[tuple[str, int]]:
        """The loops around it, with the round in each, the outermost first."""
        return [(found["loop"], int(found["number"])) for found in _ROUND.finditer(self.path)]

    @property
    def seconds(self) -> float | None:
        """How long it took. None: it has not ended."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max((self.finished_at - self.started_at).total_seconds(), 0.0)


def records_of(execution: Execution) -> list[Record]:
    """An execution's steps, as the history has it."""
    return waiting(str(execution.status), list(map(recorded, execution.steps)))


def records_told(found: Mapping[str, Any]) -> list[Record]:
    """An execution's steps, as the API gives it."""
    return waiting(found["status"], list(map(_told, found["steps"])))


def waiting(status: str, records: Sequence[Record]) -> list[Record]:
    """The steps of an execution of this status: while it waits for something outside, what runs in it waits."""
    return [replace(one, status=status) if (status, one.status) == ("waiting", "running") else one for one in records]


def recorded(step: StepExecution) -> Record:
    """A record of the history's."""
    listed = step.decision.get("items") if isinstance(step.decision, Mapping) else None
    return Record(
        path=step.path,
        action=step.action,
        status=str(step.status),
        attempts=step.attempts,
        started_at=step.started_at,
        finished_at=step.finished_at,
        output=step.output,
        error=step.error,
        total=len(listed) if isinstance(listed, list) else None,
    )


def _told(step: Mapping[str, Any]) -> Record:
    return Record(
        path=step["id"],
        action=step["action"],
        status=step["status"],
        attempts=step["attempts"],
        started_at=_time(step["started_at"]),
        finished_at=_time(step["finished_at"]),
        output=step["output"],
        error=step["error"],
        input=step.get("input"),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True)
class State:
    """
    Attributes:
        status: of a step in a loop: of all its rounds together.
        seconds: how long it took, in all its rounds together. None: it still runs, or never ran.
        note: what else is worth a word: `3 of 10, 1 failed`, `2 attempts`.
    """

    status: str
    seconds: float | None = None
    note: str = ""

    def said(self) -> str:
        """`succeeded, 120 ms, 2 attempts`"""
        parts = (self.status.replace("_", " "), "" if self.seconds is None else duration(self.seconds), self.note)
        return ", ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """`12 ms`, `3.4 s`, `2 min 5 s`"""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def states_of(graph: Graph, records: Sequence[Record]) -> dict[str, State]:
    """How far each step has come, by its id. A step without a record has no state."""
    by_step: dict[str, list[Record]] = defaultdict(list)
    rounds: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        looped = record.rounds
        is_action_of_loop = bool(looped) and record.path.endswith("]")
        if not is_action_of_loop:
            by_step[record.step].append(record)
        if looped:
            inside = record.path.rpartition("[")[0] + f"[{looped[-1][1]}]"
            rounds[looped[-1][0]][inside].append(record)
    nodes = {node.id: node for node in graph.every_node()}
    return {step: _state(nodes.get(step), found, rounds.get(step, {})) for step, found in by_step.items()}


def _state(node: Node | None, records: Sequence[Record], rounds: Mapping[str, Sequence[Record]]) -> State:
    status, took = _together(records), [one.seconds for one in records if one.seconds is not None]
    notes = []
    if len(records) == 1 and records[0].attempts > 1:
        notes.append(f"{records[0].attempts} attempts")
    if len(records) > 1:
        notes.append(f"{len(records)} times")
        if failed := sum(one.status in FAILED for one in records):
            notes.append(f"{failed} failed")
    if rounds:
        notes.append(_rounds(node, records, rounds))
    seconds = None if status in UNFINISHED or status == "skipped" or not took else sum(took)
    return State(status, seconds, ", ".join(notes))


def _together(records: Sequence[Record]) -> str:
    found = {one.status for one in records}
    for status in ("waiting", "running", "failed", "timed_out", "cancelled", "succeeded"):
        if status in found:
            return status
    return records[0].status


def _rounds(node: Node | None, records: Sequence[Record], rounds: Mapping[str, Sequence[Record]]) -> str:
    """`3 of 10, 1 failed`: how many have ended, of how many, and which of them failed."""
    lists = [_total(one) for one in records]
    total = sum(one for one in lists if one is not None) if None not in lists else None
    ended = sum(all(one.status not in UNFINISHED for one in found) for found in rounds.values())
    outermost = {one.id for group in node.groups for one in group.graph.nodes if not one.may_fail} if node else set()
    failed = sum(
        any(one.status in FAILED and (one.step in outermost or one.path.endswith("]")) for one in found)
        for found in rounds.values()
    )
    said = f"{ended} {'round' if ended == 1 else 'rounds'}" if total is None else f"{ended} of {total}"
    return f"{said}, {failed} failed" if failed else said


def _total(loop: Record) -> int | None:
    if loop.total is not None:
        return loop.total
    return len(loop.output) if isinstance(loop.output, list) else None
