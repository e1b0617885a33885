"""`ipaas workflows`: what is published, and whether it takes events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundation.errors import NotFound
from ipaas.cli.output import AsJson, print_fields, print_json, print_table
from ipaas.cli.session import connect, run, ui_url

if TYPE_CHECKING:
    from foundation.settings import Settings

workflows = typer.Typer(help="What is published: list, show, activate, deactivate. Alone: list.")

Name = Annotated[str, typer.Argument(help="The workflow's name.")]


@workflows.callback(invoke_without_command=True)
def by_default(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_workflows(as_json)


@workflows.command("list")
def list_workflows(as_json: AsJson = False) -> None:
    """Every workflow, with its triggers and current version."""
    views = run(_views(connect()))
    if as_json:
        print_json({"items": views})
        return
    rows = [
        (view["name"], view["active"], view["version"], "; ".join(map(trigger_text, view["triggers"])))
        for view in views
    ]
    print_table(("WORKFLOW", "ACTIVE", "VERSION", "TRIGGERS"), rows)


@workflows.command()
def show(
    name: Name,
    version: Annotated[str | None, typer.Option(help="One version, with its text, instead of the current one.")] = None,
    as_json: AsJson = False,
) -> None:
    """One workflow, with its versions and when each was published first."""
    if version is None:
        _print_one(run(_view(connect(), name)), as_json)
        return
    view = run(_version(connect(), name, version))
    if as_json:
        print_json(view)
        return
    source = view.pop("source")
    _print_fields(view)
    typer.echo(f"\n{source}", nl=False)


@workflows.command()
def activate(name: Name, as_json: AsJson = False) -> None:
    """Its hooks take events again, and its schedules go on."""
    _print_one(run(_set_active(connect(), name, True)), as_json)


@workflows.command()
def deactivate(name: Name, as_json: AsJson = False) -> None:
    """Its hooks answer 409 and its schedules pause; what was accepted still runs."""
    _print_one(run(_set_active(connect(), name, False)), as_json)


def trigger_text(trigger: Mapping[str, Any]) -> str:
    """`POST /hooks/orders (shopify)`, `cron 0 9 * * 1-5 Europe/Berlin`; a hook that takes anything says so."""
    if webhook := trigger.get("webhook"):
        auth = webhook["auth"]
        guard = "NOT VERIFIED" if auth == "none" else auth["scheme"]
        return f"{','.join(webhook['methods'])} /hooks/{webhook['path']} ({guard})"
    kind, data = next(iter(trigger.items()))
    if kind == "schedule":
        return f"cron {data['cron']} {data.get('timezone', 'UTC')}" if "cron" in data else f"every {data['every']:g} s"
    if kind == "poll":
        return f"polls {data['uses']} every {data['every']:g} s"
    return f"failure of {', '.join(data['of'])}"


def _print_one(view: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    _print_fields({key: value for key, value in view.items() if key != "versions"})
    typer.echo()
    rows = [(one["version"], one["created_at"], "current" if one["current"] else "") for one in view["versions"]]
    print_table(("VERSION", "PUBLISHED", ""), rows)


def _print_fields(view: Mapping[str, Any]) -> None:
    print_fields(
        {key: value for key, value in view.items() if key not in ("triggers", "tags", "polls")}
        | {
            "tags": ", ".join(view["tags"]),
            "triggers": "; ".join(map(trigger_text, view["triggers"])),
        }
        | {f"poll {poll['poll']}": _poll_text(poll) for poll in view.get("polls", ())}
    )


def _poll_text(poll: Mapping[str, Any]) -> str:
    """`last at 2026-01-01T09:00:00Z, next at …`; what is wrong with it comes first."""
    said = [f"last at {poll['polled_at']}" if poll["polled_at"] else "none has gone well yet"]
    said.append(f"next at {poll['due_at']}")
    if poll["failures"]:
        said.append(f"failed {poll['failures']} times since: {poll['error']['message']}")
    return ", ".join(["FROZEN", *said] if poll["frozen"] else said)


async def _views(settings: Settings) -> list[dict[str, Any]]:
    from ipaas.connection import history
    from ipaas.views import workflow_view

    async with history(settings) as store:
        polls, ui = await store.polls(), ui_url(settings)
        return [workflow_view(one, polls, ui).model_dump(mode="json") for one in await store.workflows()]


async def _view(settings: Settings, name: str) -> dict[str, Any]:
    from ipaas.connection import history
    from ipaas.views import workflow_detail

    async with history(settings) as store:
        workflow, versions = await store.workflow(name), await store.versions(name)
        polls = await store.polls(name)
    if workflow is None:
        raise _unknown(name)
    return workflow_detail(workflow, polls, versions, ui_url(settings)).model_dump(mode="json")


async def _version(settings: Settings, name: str, version: str) -> dict[str, Any]:
    from ipaas.connection import history
    from ipaas.publish import find_version
    from ipaas.views import version_view

    async with history(settings) as store:
        found, workflow = await find_version(store, name, version), await store.workflow(name)
    if workflow is None:
        raise _unknown(name)
    about = {"name": name, "description": found.description, "tags": list(found.tags)}
    triggers = {"triggers": (found.declaration or {}).get("triggers", [])}
    return about | version_view(found, workflow).model_dump(mode="json") | triggers | {"source": found.source}


def _unknown(name: str) -> NotFound:
    return NotFound(f"no workflow {name}: see `ipaas workflows`")


async def _set_active(settings: Settings, name: str, active: bool) -> dict[str, Any]:
    from ipaas import operations
    from ipaas.connection import history, prefect

    async with history(settings) as store, prefect() as client:
        await operations.set_active(store, client, name, active)
    return await _view(settings, name)
