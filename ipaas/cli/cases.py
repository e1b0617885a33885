"""`ipaas test`: the cases beside the workflows."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from foundation.errors import IpaasError, NotFound
from ipaas.cli.output import AsJson, print_json
from ipaas.cli.session import connect
from ipaas.failing import fail

if TYPE_CHECKING:
    from flows.testing.playing import Played, Report

cases = typer.Typer()

LOOK_SECONDS = 0.3
"""How often `--watch` looks for changes."""


@cases.command("test")
def run_cases(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, help="Files of cases, workflows that have some beside them, folders; default: ."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML, too.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Run again whenever a file changes, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Runs the test cases of workflows, each `NAME.test.yaml` beside its workflow, in memory; exit code 1 when one
    fails. Python workflows are executed to read them."""
    if watch and as_json:
        raise typer.BadParameter("one document does not go on", param_hint="--watch, --json")
    connect()
    given = paths or [Path()]
    if watch:
        _watch(given, junit)
    raise typer.Exit(0 if _run(given, junit, as_json) else 1)


def _watch(paths: Sequence[Path], junit: Path | None) -> NoReturn:
    try:
        while True:
            try:
                _run(paths, junit, as_json=False)
            except IpaasError as error:
                fail(error)
            _wait_for_change(paths)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _run(paths: Sequence[Path], junit: Path | None, as_json: bool) -> bool:
    from flows.testing.junit import junit as as_junit
    from flows.testing.playing import play_file
    from flows.testing.virtual_time import VirtualTime
    from ipaas.logs import silent

    reports: list[Report] = []
    with VirtualTime() as time, silent():
        for file in _case_files(paths):
            reports.append(play_file(file, time))
            if not as_json:
                _print(reports[-1])
    if not reports:
        raise NotFound(f"no cases in {', '.join(map(str, paths))}: they stand in NAME.test.yaml beside a workflow")
    if junit:
        junit.write_text(as_junit(reports), encoding="utf-8")
    if as_json:
        print_json(_document(reports))
    else:
        _print_sum(reports)
    return all(report.passed for report in reports)


def _case_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Raises NotFound for a workflow that has no cases."""
    from flows.language.files import CASES_SUFFIXES, find_case_files, has_cases

    for path in paths:
        if path.is_dir() or has_cases(path):
            yield from find_case_files([path])
            continue
        beside = [path.with_name(path.stem + suffix) for suffix in CASES_SUFFIXES]
        found = [one for one in beside if one.is_file()]
        if not found:
            raise NotFound(f"{path} has no cases: there is no {beside[0]}")
        yield from found


def _wait_for_change(paths: Sequence[Path]) -> None:
    """Returns once a file has changed; Python modules beside the workflows are imported anew then."""
    from flows.testing.programs import forget

    before = _state(paths)
    while _state(paths) == before:
        sleep(LOOK_SECONDS)
    watched = {str(path.resolve()) for path in before}
    for name in [name for name, module in sys.modules.items() if getattr(module, "__file__", None) in watched]:
        del sys.modules[name]
    forget()
    typer.echo("")


def _state(paths: Sequence[Path]) -> dict[Path, float]:
    """When the files were changed that are in the folders, and in those of the files."""
    from flows.language.files import find_case_files, find_workflow_files
    from flows.testing.programs import SUFFIXES

    folders = [path if path.is_dir() else path.parent for path in paths]
    found = [*find_workflow_files(folders, SUFFIXES), *find_case_files(folders)]
    return {path: path.stat().st_mtime for path in found if path.exists()}


def _print(report: Report) -> None:
    typer.echo(str(report.file))
    for error in report.errors:
        typer.echo(f"  {error}")
    for played in report.played:
        typer.echo(f"  {'FAILED' if played.faults else 'ok    '}  {played.case.name}")
        _print_faults(report, played)


def _print_faults(report: Report, played: Played) -> None:
    for fault in played.faults:
        place = f"{report.file}:{fault.line}" if fault.line else str(report.file)
        typer.echo(f"            {fault.place}  ({place})" if fault.place else f"            ({place})")
        for line in fault.said:
            typer.echo(f"              {line}")


def _print_sum(reports: Sequence[Report]) -> None:
    played = [one for report in reports for one in report.played]
    failed, broken = sum(bool(one.faults) for one in played), sum(bool(report.errors) for report in reports)
    said = [f"{failed} failed"] if failed else []
    said += [f"{broken} file{'s' * (broken > 1)} can't be read"] if broken else []
    seconds = sum(one.seconds for one in played)
    typer.echo(", ".join([*said, f"{len(played) - failed} passed in {seconds:.2f} s"]))


def _document(reports: Sequence[Report]) -> dict[str, Any]:
    return {
        "passed": all(report.passed for report in reports),
        "files": [
            {
                "file": str(report.file),
                "errors": [
                    {"line": error.line, "column": error.column, "message": error.message} for error in report.errors
                ],
                "cases": [_case(played) for played in report.played],
            }
            for report in reports
        ],
    }


def _case(played: Played) -> dict[str, Any]:
    return {
        "name": played.case.name,
        "passed": not played.faults,
        "seconds": round(played.seconds, 4),
        "faults": [
            {"place": fault.place, "line": fault.line, "message": "\n".join(fault.said)} for fault in played.faults
        ],
    }
