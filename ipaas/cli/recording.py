"""Test cases made of executions: `ipaas run --record`, `ipaas executions record`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundation.errors import NotFound
from ipaas.cli.executions import Id, executions
from ipaas.cli.session import InputError, connect, run

if TYPE_CHECKING:
    from flows.engine.program import Program
    from flows.history import Execution, WorkflowVersion
    from foundation.settings import Settings


@executions.command()
def record(
    execution_id: Id,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new NAME.test.yaml; default: standard output.")
    ] = None,
) -> None:
    """Writes an ended execution as a test case: its event, what its steps gave, how it ended; secrets masked."""
    settings = connect()
    if output:
        check_recording(output)
    record_stored(settings, execution_id, output)


def record_stored(settings: Settings, execution_id: str, file: Path | None) -> None:
    """Writes the case of an execution of the history. Raises NotFound, and Conflict when it has not ended."""
    execution, version = run(_with_version(settings, execution_id))
    from flows.on_prefect.compile import compile_version
    from flows.testing.case_text import case_of_history
    from foundation.masking import process_masker

    case = case_of_history(execution, process_masker)
    write_case(case, compile_version(version).program, f"execution {execution.id}", file)


async def _with_version(settings: Settings, execution_id: str) -> tuple[Execution, WorkflowVersion]:
    from ipaas.connection import history
    from ipaas.operations import Conflict

    async with history(settings) as store:
        execution = await store.execution(execution_id)
        if execution is None:
            raise NotFound(f"no execution {execution_id}")
        if not execution.status.is_final:
            raise Conflict(f"execution {execution_id} has not ended: {execution.status}")
        version = await store.version(execution.workflow, execution.version)
    if version is None:
        raise NotFound(f"workflow {execution.workflow} has no version {execution.version} any more")
    return execution, version


def check_recording(file: Path) -> None:
    """Raises InputError, before anything runs, when the case can't be written there."""
    from flows.language.files import CASES_SUFFIXES, has_cases

    if not has_cases(file):
        raise InputError(f"{file}: cases stand in a file that ends in {CASES_SUFFIXES[0]}")
    if file.exists():
        raise InputError(f"{file} exists: record to another file, and take the case over from there")
    if not file.parent.is_dir():
        raise InputError(f"{file}: there is no folder {file.parent}")


def write_case(case: Mapping[str, Any], program: Program, source: str, file: Path | None) -> None:
    """Writes the case, and says on standard error whether it passes when it is played.

    Args:
        source: where it is from.
        file: None: standard output.
    """
    from flows.testing.case_text import yaml_of
    from flows.testing.playing import play_text
    from ipaas.logs import silent

    text = yaml_of(case, _workflow(program, file), source)
    if file:
        file.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)
    where = str(file) if file else "the case"
    with silent():
        faults = [fault for played in play_text(text, program).played for fault in played.faults]
    if not faults:
        typer.echo(f"recorded: {where}; played, it passes", err=True)
        return
    typer.echo(f"recorded: {where}; played, it differs, so edit what is not the same each time:", err=True)
    for fault in faults:
        typer.echo("\n    ".join([f"  {fault.place}", *fault.said]), err=True)


def _workflow(program: Program, file: Path | None) -> str | None:
    """How the case names its workflow; None when the file's own name says it."""
    published = Path(program.version.file)
    name = program.declaration.name
    here = Path.cwd()
    if file is None or not (published.is_file() and published.is_relative_to(here)):
        return name
    if published.parent == file.parent.resolve() and file.name.partition(".")[0] == published.stem:
        return None
    written = os.path.relpath(published, file.parent.resolve())
    return f"{written}:{name}" if published.suffix == ".py" else written
