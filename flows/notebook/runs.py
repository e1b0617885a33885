"""What became of executions, as a notebook shows it: one, or a table of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from flows.drawing.picture import Picture
from flows.drawing.states import Record, duration, records_told
from flows.history import Execution
from flows.notebook.shown import Bundle, Drawing, Said, Shown, Table

Where = Literal["here", "platform"]
_COLUMNS: Final = ("execution", "where", "status", "accepted", "took", "error")


@dataclass(repr=False)
class Run(Shown):
    """An execution that has ended, or waits. Values are as they were recorded: secrets in them are masked.

    Attributes:
        steps: with their inputs where it ran here.
        seconds: from when it was accepted to its end; None: it has not ended.
        is_shown: its picture stands below its cell already.
    """

    id: str
    where: Where
    status: str
    output: Any
    error: Mapping[str, Any] | None
    steps: Sequence[Record]
    accepted_at: datetime
    seconds: float | None
    picture: Picture
    is_shown: bool = False

    @classmethod
    def of_execution(cls, execution: Execution, steps: Sequence[Record], picture: Picture) -> Run:
        """One that ran here."""
        took = execution.finished_at and execution.finished_at - execution.accepted_at
        return cls(
            id=execution.id,
            where="here",
            status=str(execution.status),
            output=execution.output,
            error=execution.error,
            steps=steps,
            accepted_at=execution.accepted_at,
            seconds=took.total_seconds() if took else None,
            picture=picture,
        )

    @classmethod
    def of_answer(cls, found: Mapping[str, Any], picture: Picture) -> Run:
        """One of the platform's, as its API gives it."""
        return cls(
            id=found["id"],
            where="platform",
            status=found["status"],
            output=found["output"],
            error=found["error"],
            steps=records_told(found),
            accepted_at=datetime.fromisoformat(found["accepted_at"]),
            seconds=_seconds(found),
            picture=picture,
        )

    def bundle(self) -> Bundle:
        return Said(self.said()).bundle() if self.is_shown else self.drawing().bundle()

    def said(self) -> str:
        place = "" if self.where == "here" else f", on the platform as {self.id}"
        took = "" if self.seconds is None else f" in {duration(self.seconds)}"
        message = f": {self.error['message']}" if self.error else ""
        return f"{self.status.replace('_', ' ')}{took}{place}{message}"

    def drawing(self) -> Drawing:
        return Drawing(self.picture, self.said(), self.steps, {"output": self.output, "error": self.error})


def table_of_runs(runs: Iterable[Run]) -> Table:
    return _table((one.id, one.where, one.status, one.accepted_at, one.seconds, one.error) for one in runs)


def table_of_answers(found: Iterable[Mapping[str, Any]]) -> Table:
    """Of executions as the platform's API lists them."""
    return _table(
        (
            one["id"],
            "platform",
            one["status"],
            datetime.fromisoformat(one["accepted_at"]),
            _seconds(one),
            one["error"],
        )
        for one in found
    )


def _table(executions: Iterable[tuple[str, Where, str, datetime, float | None, Mapping[str, Any] | None]]) -> Table:
    rows = []
    for execution, where, status, accepted, seconds, error in executions:
        moment = accepted.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        took = "" if seconds is None else duration(seconds)
        cells = (execution, where, status, moment, took, (error or {}).get("message"))
        rows.append(dict(zip(_COLUMNS, cells, strict=True)))
    return Table(_COLUMNS, rows)


def _seconds(found: Mapping[str, Any]) -> float | None:
    if not found["finished_at"]:
        return None
    ended, accepted = datetime.fromisoformat(found["finished_at"]), datetime.fromisoformat(found["accepted_at"])
    return (ended - accepted).total_seconds()
