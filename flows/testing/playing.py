"""Plays cases: each on a bench of its own."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from flows.engine.program import Program
from flows.language.definition import Path as Place
from flows.language.faults import DefinitionErrors, written
from flows.testing.answering import stub
from flows.testing.bench import Bench
from flows.testing.cases import Case, CaseFile, parse_cases, read_cases
from flows.testing.comparing import Difference, differences
from flows.testing.programs import Programs
from flows.testing.requests import NotStubbed
from flows.testing.result import Result
from flows.testing.virtual_time import VirtualTime
from foundation.errors import DefinitionError


@dataclass(frozen=True)
class Fault:
    """Why a case failed.

    Attributes:
        place: in the case: `expect.output.sent`.
        line: of the case's file.
        said: line by line.
    """

    place: str
    line: int | None
    said: Sequence[str]


@dataclass(frozen=True)
class Played:
    """
    Attributes:
        faults: none: it passed.
        seconds: how long it took, in real time.
    """

    case: Case
    faults: Sequence[Fault]
    seconds: float


@dataclass(frozen=True)
class Report:
    """One file's cases, played; or what is wrong with the file."""

    file: Path
    played: Sequence[Played] = ()
    errors: Sequence[DefinitionError] = ()

    @property
    def passed(self) -> bool:
        return not self.errors and not any(one.faults for one in self.played)


def play_file(file: Path, time: VirtualTime) -> Report:
    """Every case of a file; none when anything is wrong with the file or its workflow."""
    try:
        return _report(read_cases(file), time)
    except DefinitionErrors as errors:
        return Report(file, errors=errors.errors)


def play_text(text: str, program: Program) -> Report:
    """Every case of a text, whose workflow is at hand. Raises DefinitionErrors."""
    with VirtualTime() as time:
        return _report(parse_cases(text, Path("<cases>"), program), time)


def _report(found: CaseFile, time: VirtualTime) -> Report:
    return Report(found.file, [_played(found, number, case, time) for number, case in enumerate(found.cases)])


def run_case(case: Case, found: CaseFile, time: VirtualTime) -> Result:
    """Runs the workflow as the case says. Raises NotStubbed."""
    bench = Bench(time, Programs([found.file.parent]))
    bench.credentials.update(case.credentials)
    if case.clock:
        bench.clock.set(case.clock)
    stub(bench.http, case.answers)
    stubs = {path: one.model_dump(exclude_unset=True) for path, one in case.stubs.items()}
    given = case.given
    return bench.run_program(
        found.program, given.body, headers=given.headers, query=given.query, stubs=stubs, replies=case.replies
    )


def _played(found: CaseFile, number: int, case: Case, time: VirtualTime) -> Played:
    started = perf_counter()
    place: Place = ("cases", number)

    def fault(inside: Place, said: Sequence[str]) -> Fault:
        return Fault(written(inside), found.position((*place, *inside)).line, said)

    def of(difference: Difference) -> Fault:
        return fault(difference.place, difference.lines())

    try:
        faults = [of(one) for one in differences(case.expect, run_case(case, found, time))]
    except NotStubbed as error:
        faults = [fault(("answers",), str(error).splitlines())]
    except Exception:  # noqa: BLE001 - a fault of ours must not end the cases after it
        faults = [fault((), traceback.format_exc().splitlines())]
    return Played(case, faults, perf_counter() - started)
