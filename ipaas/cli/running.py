"""`ipaas run`: one execution now."""

from __future__ import annotations

import asyncio
import logging
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundation.errors import NotFound
from ipaas.cli.output import AsJson, indented, print_json
from ipaas.cli.recording import check_recording, record_stored, write_case
from ipaas.cli.session import InputError, connect, read_json, run, ui_url

if TYPE_CHECKING:
    from flows.history import Execution, HistoryStore
    from flows.language.event import Event
    from flows.on_prefect.flow import WorkflowFlow
    from foundation.settings import Settings

running = typer.Typer()

SUFFIXES = (".yaml", ".yml", ".py")
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 5.0
"""After so long without a sign of a gateway, the person who waits is told."""


@running.command("signal")
def send_signal(
    name: Annotated[str, typer.Argument(help="The signal's name.")],
    body: Annotated[str | None, typer.Option(metavar="FILE|-", help="The JSON that the waiting step gets.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sends a signal to the step that waits for it, or will within a week."""
    settings = connect()
    status = run(_signal(settings, name, None if body is None else read_json(body)))
    if as_json:
        print_json({"delivered": status == "delivered", "status": status})
    else:
        typer.echo(_WHAT_BECAME[status])


_WHAT_BECAME = {
    "delivered": "delivered",
    "kept": "kept: nobody waits for it yet",
    "known": "not kept: an earlier one still waits for whoever takes it",
}


async def _signal(settings: Settings, name: str, body: Any) -> str:
    from ipaas import decisions
    from ipaas.connection import history

    async with history(settings) as store:
        return await decisions.signal(store, name, body, by="the command line")


@running.command("run")
def run_workflow(
    workflow: Annotated[
        str,
        typer.Argument(
            metavar="WORKFLOW|FILE", help="A published workflow's name, or a file (FILE:NAME if it has several)."
        ),
    ],
    body: Annotated[str | None, typer.Option(metavar="FILE|-", help="The event's JSON body.")] = None,
    event: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="The whole event as JSON: body, headers, query, …")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; print what each step would send.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Run here, without a server; store nothing.")] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a test case of it to a new NAME.test.yaml, secrets masked: with --local its requests and their "
            "answers, else what its steps gave.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Runs one execution now and prints it as the API gives it; exit code 0 if it succeeded."""
    if body is not None and event is not None:
        raise typer.BadParameter("give the body or the whole event, not both", param_hint="--body, --event")
    if record and dry_run:
        raise typer.BadParameter("a dry run gets no answers", param_hint="--record, --dry-run")
    if record:
        check_recording(record)
    file, name = _file_and_name(workflow)
    if file is not None and not (local or dry_run):
        raise InputError(
            f"{file} is a file: run it with --local, or `ipaas deploy {file}` first and run it by its name"
        )
    settings = connect()
    started_by = _given_event(body, event)
    if dry_run or local:
        _run_here(settings, file, name, started_by, dry_run, record, as_json)
    else:
        execution = run(_run_published(settings, workflow, started_by))
        if record:
            record_stored(settings, execution.id, record)
        _print_end(execution, ui_url(settings))


def _file_and_name(workflow: str) -> tuple[Path | None, str | None]:
    """The file, if a file is meant, and the workflow's name, if one is given."""
    path, _, name = workflow.partition(":")
    if path.endswith(SUFFIXES):
        return Path(path), name or None
    if "/" in workflow:
        return Path(workflow), None
    return None, workflow


def _given_event(body: str | None, event: str | None) -> Event:
    """Raises InputError, naming what is wrong."""
    from pydantic import ValidationError

    from flows.language.event import Event

    if event is None:
        return Event(body=None if body is None else read_json(body))
    given, known = read_json(event), list(Event.model_fields)
    if not isinstance(given, dict):
        raise InputError(f"--event {event}: an event is a JSON object with {', '.join(known)}")
    for key in given.keys() - set(known):
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        raise InputError(f"--event {event}: unknown key {key!r}; {hint}")
    if isinstance(headers := given.get("headers"), dict):
        given["headers"] = {name.lower(): value for name, value in headers.items()}
    try:
        return Event.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise InputError(f"--event {event}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def _run_here(
    settings: Settings,
    file: Path | None,
    name: str | None,
    event: Event,
    dry_run: bool,
    record: Path | None,
    as_json: bool,
) -> None:
    from flows.language.input_schema import check_input
    from ipaas import local
    from ipaas.logs import set_up_logging

    set_up_logging(settings)
    logging.getLogger("prefect").setLevel(logging.WARNING)
    flow = _flow_of_file(file, name) if file else run(_flow_of_history(settings, name or ""))
    check_input(flow.declaration, event.body)
    if record:
        execution, case = run(local.run_and_record(flow, event, settings))
        write_case(case, flow.program, f"execution {execution.id}", record)
        _print_end(execution, None)
        return
    if not dry_run:
        _print_end(run(local.run_local(flow, event, settings)), None)
        return
    found = run(local.dry_run(flow, event, settings))
    if as_json:
        print_json(_dry_document(found))
    else:
        _print_dry_run(found)
    _exit_with(found.execution)


def _flow_of_file(file: Path, name: str | None) -> WorkflowFlow:
    """Raises DefinitionErrors, NotFound, InputError."""
    from ipaas.publish import compile_files

    flows = {flow.name: flow for flow in compile_files([file])}
    names = ", ".join(flows)
    if name is None and len(flows) == 1:
        return next(iter(flows.values()))
    if name is None:
        raise InputError(
            f"{file} has several workflows: say {file}:NAME, one of {names}" if flows else f"{file} has no workflow"
        )
    if name not in flows:
        raise NotFound(f"{file} has no workflow {name}; it has {names or 'none'}")
    return flows[name]


async def _flow_of_history(settings: Settings, name: str) -> WorkflowFlow:
    from flows.on_prefect.compile import compile_version
    from ipaas.connection import history

    async with history(settings) as store:
        known = await store.workflow(name)
    if known is None:
        raise NotFound(f"no workflow {name}: see `ipaas workflows`, or give a file")
    return compile_version(known.current)


async def _run_published(settings: Settings, name: str, event: Event) -> Execution:
    from foundation.clock import SystemClock
    from ipaas import operations
    from ipaas.connection import history, prefect

    async with history(settings) as store:
        async with prefect():  # without it nothing would run: said before anything is stored
            execution_id = (await operations.start(store, SystemClock(), name, event)).execution_id
        try:
            return await _end_of(store, execution_id)
        except asyncio.CancelledError:
            typer.echo(f"execution {execution_id} goes on; see `ipaas executions show {execution_id}`", err=True)
            raise


async def _end_of(store: HistoryStore, execution_id: str) -> Execution:
    from flows.engine.waiting_for import open_waits, waiting_for

    waited, told = 0.0, False
    while not await store.finished([execution_id]):
        await asyncio.sleep(POLL_SECONDS)
        waited += POLL_SECONDS
        if waited >= PATIENCE_SECONDS and not told:
            told = True
            execution = await store.execution(execution_id)
            if execution and execution.status == "waiting":
                what = waiting_for(open_waits(execution.waits))
                typer.echo(f"execution {execution_id} waits: {what}; Ctrl-C leaves it to itself", err=True)
            elif execution and not execution.flow_run_id:
                typer.echo(f"execution {execution_id} is accepted and waits for a gateway to hand it over", err=True)
    execution = await store.execution(execution_id)
    if execution is None:
        raise NotFound(f"execution {execution_id} is not in the history any more")
    return execution


def _print_end(execution: Execution, ui: str | None) -> None:
    from ipaas.views import view

    print_json(view(execution, ui).model_dump(mode="json"))
    _exit_with(execution)


def _exit_with(execution: Execution) -> None:
    if execution.status != "succeeded":
        message = (execution.error or {}).get("message")
        typer.echo(f"ipaas: the execution {execution.status}{f': {message}' if message else ''}", err=True)
        raise typer.Exit(1)


def _dry_document(found: Any) -> dict[str, Any]:
    """The execution as the API gives it; a step that would send something has `would_send`."""
    from dataclasses import asdict

    from ipaas.views import view

    document = view(found.execution, None).model_dump(mode="json")
    for step in document["steps"]:
        request = found.requests.get(step["id"])
        step["would_send"] = asdict(request) if request else None
    return document


def _print_dry_run(found: Any) -> None:
    for step in found.execution.steps:
        request = found.requests.get(step.path)
        said = {"skipped": "skipped", "failed": f"failed: {(step.error or {}).get('message')}"}.get(step.status)
        if said is None:
            said = "would send" if request else "sends nothing"
        typer.echo(f"{step.path}  {step.action}  {said}")
        if request:
            typer.echo(f"  {request.method} {request.url}")
            for name, value in request.headers.items():
                typer.echo(f"  {name}: {value}")
            if request.body is not None:
                typer.echo(indented(request.body, 2))
        elif said == "sends nothing":
            typer.echo(indented(step.output, 2))
    typer.echo("output")
    typer.echo(indented(found.execution.output, 2))
