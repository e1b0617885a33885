"""`ipaas executions`: what ran, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from foundation.errors import IpaasError, NotFound
from ipaas.cli.output import AsJson, print_fields, print_json, print_table
from ipaas.cli.session import connect, run, ui_url
from ipaas.cli.showing import Form, Graph, Output, draw
from ipaas.failing import fail

if TYPE_CHECKING:
    from flows.drawing.picture import Picture
    from flows.history import Execution, HistoryStore, Page
    from foundation.settings import Settings

executions = typer.Typer(help="What ran: list, show, replay, cancel, record. Alone: list.")

StatusName = Literal["accepted", "running", "waiting", "succeeded", "failed", "timed_out", "cancelled", "skipped"]
EndedName = Literal["succeeded", "failed", "timed_out", "cancelled", "skipped"]


def _since(text: str) -> datetime:
    """`1d` ago, or a time."""
    from pydantic import TypeAdapter, ValidationError

    from foundation.duration import Seconds

    try:
        return datetime.now(UTC) - timedelta(seconds=TypeAdapter(Seconds).validate_python(text))
    except (ValidationError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no duration like 1d, and no time like 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} needs a time zone, as in 2026-01-31T12:00:00Z")
    return moment


OfWorkflow = Annotated[str | None, typer.Option(help="Only this workflow's.")]
Since = Annotated[
    datetime | None, typer.Option(parser=_since, metavar="1d|TIME", help="Only those accepted since then.")
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The execution's id.")]


@executions.callback(invoke_without_command=True)
def by_default(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_executions(as_json=as_json)


@executions.command("list")
def list_executions(
    workflow: OfWorkflow = None,
    status: Annotated[StatusName | None, typer.Option(help="Only those of this status.")] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended: its `next_cursor`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Newest first."""
    settings = connect()
    page = run(_page(settings, workflow=workflow, status=status, since=since, limit=limit, cursor=cursor))
    from ipaas.views import ExecutionList, summary

    if as_json:
        items = [summary(one, ui_url(settings)) for one in page.items]
        print_json(ExecutionList(items=items, next_cursor=page.next_cursor).model_dump(mode="json"))
        return
    rows = [(one.id, one.workflow, one.trigger, one.status, one.accepted_at, _message(one)) for one in page.items]
    print_table(("EXECUTION", "WORKFLOW", "TRIGGER", "STATUS", "ACCEPTED", "ERROR"), rows)
    if page.next_cursor:
        typer.echo(f"more: --cursor {page.next_cursor}", err=True)


@executions.command()
def show(
    execution_id: Id, graph: Graph = False, form: Form = None, output: Output = None, as_json: AsJson = False
) -> None:
    """One execution with its event, output and steps; or drawn, with how far each step has come."""
    settings = connect()
    if not (graph or form or output):
        _print_one(run(_execution(settings, execution_id)), ui_url(settings), as_json)
        return
    picture = run(_picture(settings, execution_id))
    if as_json:
        print_json(picture.document())
    else:
        draw(picture, form, output)


@executions.command()
def replay(
    execution_ids: Annotated[list[str] | None, typer.Argument(metavar="ID…", help="The executions' ids.")] = None,
    from_step: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Steps before this one keep their results.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="All that succeeded keeps its results, items of loops one by one.")
    ] = False,
    version: Annotated[
        str | None, typer.Option(help="`current`, or a version's hash; default: the one it ran on.")
    ] = None,
    status: Annotated[
        EndedName | None, typer.Option(help="All that ended so, instead of ids; those replayed already are left out.")
    ] = None,
    workflow: OfWorkflow = None,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Runs the events of ended executions again, as new executions."""
    if bool(execution_ids) == (status is not None):
        raise typer.BadParameter("give ids, or --status for many", param_hint="ID, --status")
    if execution_ids and (workflow or since):
        raise typer.BadParameter("belongs to --status", param_hint="--workflow, --since")
    if failed and from_step:
        raise typer.BadParameter("give one of them", param_hint="--from, --failed")
    how = {"from_step": from_step, "failed": failed, "version": version}
    replays = run(_replay(connect(), execution_ids or (), how, status, workflow, since))
    if as_json:
        print_json({"items": [asdict(one) for one in replays]})
    else:
        print_table(("REPLAYED", "AS"), [(one.replay_of, one.execution_id) for one in replays if one.execution_id])
        for one in replays:
            if one.error:
                fail(IpaasError(one.error))
    raise typer.Exit(1 if any(one.error for one in replays) else 0)


@dataclass(frozen=True)
class Replay:
    """What became of one that was to be replayed: the new execution, or why there is none."""

    replay_of: str
    execution_id: str | None = None
    error: str | None = None


@executions.command()
def cancel(
    execution_id: Id,
    reason: Annotated[str, typer.Option(help="Kept with the execution.")] = "",
    as_json: AsJson = False,
) -> None:
    """Cancels an execution that has not ended; one that runs ends within seconds."""
    settings = connect()
    _print_one(run(_cancel(settings, execution_id, reason)), ui_url(settings), as_json)


def _print_one(execution: Execution, ui: str | None, as_json: bool) -> None:
    from ipaas.views import view

    shown = view(execution, ui)
    if as_json:
        print_json(shown.model_dump(mode="json"))
        return
    print_fields(shown.model_dump(exclude={"steps"}))
    if shown.steps:
        typer.echo()
        rows = [(one.id, one.action, one.status, one.attempts, one.output, _message(one)) for one in shown.steps]
        print_table(("STEP", "ACTION", "STATUS", "ATTEMPTS", "OUTPUT", "ERROR"), rows)


def _message(one: Any) -> str | None:
    return (one.error or {}).get("message")


async def _page(settings: Settings, *, status: str | None, **filters: Any) -> Page:
    from flows.history import Status
    from ipaas.connection import history

    async with history(settings) as store:
        return await store.executions(status=Status(status) if status else None, **filters)


async def _execution(settings: Settings, execution_id: str) -> Execution:
    from ipaas.connection import history

    async with history(settings) as store:
        return await _existing(store, execution_id)


async def _picture(settings: Settings, execution_id: str) -> Picture:
    from flows.drawing.picture import picture_of_execution
    from flows.drawing.states import records_of
    from ipaas.connection import history
    from ipaas.publish import graph_of_version

    async with history(settings) as store:
        execution = await _existing(store, execution_id)
        version = await store.version(execution.workflow, execution.version)
    graph = graph_of_version(version) if version else None
    return picture_of_execution(f"{execution.workflow} {execution.id}", graph, records_of(execution))


async def _existing(store: HistoryStore, execution_id: str) -> Execution:
    execution = await store.execution(execution_id)
    if execution is None:
        raise NotFound(f"no execution {execution_id}")
    return execution


async def _replay(
    settings: Settings,
    ids: Sequence[str],
    how: Mapping[str, Any],
    status: str | None,
    workflow: str | None,
    since: datetime | None,
) -> list[Replay]:
    from foundation.clock import SystemClock
    from ipaas import operations
    from ipaas.connection import history

    replays: list[Replay] = []
    async with history(settings) as store:
        for one in ids or await _ended(store, status, workflow, since):
            try:
                again = await operations.replay(store, SystemClock(), one, **how)
            except (NotFound, operations.Conflict) as error:
                replays.append(Replay(one, error=str(error)))
            else:
                replays.append(Replay(one, execution_id=again))
    return replays


async def _ended(store: HistoryStore, status: str | None, workflow: str | None, since: datetime | None) -> list[str]:
    """The executions that ended so and were not replayed since, oldest first."""
    from flows.history import Status

    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.executions(
            workflow=workflow, status=Status(status) if status else None, since=since, cursor=cursor, limit=500
        )
        found += [one.id for one in page.items if one.replayed_by is None]
        cursor = page.next_cursor
        if cursor is None:
            return found[::-1]


async def _cancel(settings: Settings, execution_id: str, reason: str) -> Execution:
    from ipaas import operations
    from ipaas.connection import history, prefect

    async with history(settings) as store, prefect() as client:
        await operations.cancel(store, client, execution_id, by="the command line", reason=reason)
        return await _existing(store, execution_id)
