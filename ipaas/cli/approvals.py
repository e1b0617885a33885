"""`ipaas approvals`: what waits for a person's decision."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipaas.cli.output import AsJson, print_fields, print_json, print_table
from ipaas.cli.session import connect, run, the_json

if TYPE_CHECKING:
    from foundation.settings import Settings
    from ipaas.decisions import Decision
    from ipaas.views import ApprovalView

approvals = typer.Typer(help="What waits for a person's decision: list, approve, reject. Alone: list.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The approval's id, or its execution's.")]
Form = Annotated[str | None, typer.Option(metavar="JSON", help="What the approval's form asks for.")]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who decides; default: the user's name here.")]


@approvals.callback(invoke_without_command=True)
def by_default(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_approvals(as_json)


@approvals.command("list")
def list_approvals(as_json: AsJson = False) -> None:
    """What waits for a decision, oldest first."""
    views = run(_open(connect()))
    if as_json:
        print_json({"items": [view.model_dump(mode="json") for view in views]})
        return
    print_table(("APPROVAL", "ASKED", "UNTIL", "MESSAGE"), [(v.id, v.asked_at, v.due_at, v.message) for v in views])


@approvals.command()
def approve(approval: Id, form: Form = None, by: By = None, as_json: AsJson = False) -> None:
    """Lets the execution go on."""
    _decide(approval, True, form, by, as_json)


@approvals.command()
def reject(approval: Id, form: Form = None, by: By = None, as_json: AsJson = False) -> None:
    """Fails the step, unless its workflow says something else."""
    _decide(approval, False, form, by, as_json)


def _decide(approval: str, approved: bool, form: str | None, by: str | None, as_json: bool) -> None:
    settings = connect()
    from ipaas.decisions import Decision

    filled_in = the_json(form, "--form") if form is not None else None
    view = run(_decided(settings, approval, Decision(approved, filled_in, by or getpass.getuser())))
    if as_json:
        print_json(view.model_dump(mode="json"))
    else:
        shown: dict[str, Any] = view.model_dump(exclude={"form"})
        print_fields(shown)


async def _open(settings: Settings) -> list[ApprovalView]:
    from ipaas import decisions
    from ipaas.connection import history
    from ipaas.views import approval_view

    async with history(settings) as store:
        return [approval_view(wait) for wait in await decisions.approvals(store)]


async def _decided(settings: Settings, approval: str, decision: Decision) -> ApprovalView:
    from ipaas import decisions
    from ipaas.connection import history
    from ipaas.views import approval_view

    async with history(settings) as store:
        return approval_view(await decisions.decide(store, approval, decision))
