"""What can be known of a workflow before it runs, without a server: `ipaas check`.

A definition that was read is well-formed; here its expressions, its steps' order, its actions' arguments, its
triggers and its input schema are looked at, and what several files may not share.
"""

from __future__ import annotations

import difflib
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from connectors.webhooks import build_scheme, scheme_names
from flows.language.call import Call
from flows.language.definition import AuthSpec, Declaration, Path, Poll, Schedule, Webhook
from flows.language.faults import MOST_FAULTS, DefinitionErrors, Enough, Faults
from flows.language.files import YAML_SUFFIXES, find_workflow_files
from flows.language.in_clear import check_code
from flows.language.input_schema import malformed_part, schema_faults
from flows.language.place import EVENT_NAMES, Actions, Place
from flows.language.polling import check_poll
from flows.language.workflow import Workflow, check_answer
from flows.language.yaml_source import load_workflow
from foundation.errors import DefinitionError
from foundation.nearest import nearest


def load_yaml(path: pathlib.Path) -> list[Declaration]:
    """The one workflow of a YAML file."""
    return [load_workflow(path)]


def check_files(
    paths: Iterable[pathlib.Path],
    actions: Actions,
    *,
    suffixes: Sequence[str] = YAML_SUFFIXES,
    load: Callable[[pathlib.Path], Sequence[Declaration]] = load_yaml,
) -> list[DefinitionError]:
    """Everything that is wrong in these files and folders, file by file, line by line.

    Args:
        suffixes: of the files that are taken from folders.
        load: reads a file's workflows; raises DefinitionError.
    """
    faults: list[DefinitionError] = []
    declarations: list[Declaration] = []
    try:
        for file in find_workflow_files(paths, suffixes):
            try:
                loaded = load(file)
                if file.suffix == ".py" and loaded:
                    faults += check_code(file.read_text(encoding="utf-8"), str(file))
                declarations += loaded
            except DefinitionErrors as errors:
                faults += errors.errors
            except DefinitionError as error:
                faults.append(error)
    except DefinitionError as error:
        faults.append(error)
    for declaration in declarations:
        if isinstance(declaration, Workflow):
            faults += check_workflow(declaration, actions)
        else:
            faults += check_declaration(declaration, actions)
    return faults + check_together(declarations)


def check_workflow(workflow: Workflow, actions: Actions) -> list[DefinitionError]:
    """Everything that is wrong with the workflow by itself, in the order of the file."""
    found = check_declaration(workflow, actions)
    try:
        workflow.compile(actions)
    except DefinitionErrors as errors:
        found += errors.errors
    if len(found) <= MOST_FAULTS:
        found += workflow.check(actions)
    return sorted(found, key=lambda fault: (fault.line or math.inf, fault.column or 0))


def check_declaration(declaration: Declaration, actions: Actions) -> list[DefinitionError]:
    """What is wrong with the triggers and the input schema, of YAML and Python workflows alike."""
    faults = Faults(declaration)
    with suppress(Enough):
        _check_declaration(faults, declaration, actions)
    return faults.found


def _check_declaration(faults: Faults, declaration: Declaration, actions: Actions) -> None:
    for index, trigger in enumerate(declaration.triggers):
        if isinstance(trigger, Webhook):
            _check_webhook(faults, ("triggers", index, "webhook"), trigger)
        elif isinstance(trigger, Schedule):
            _check_schedule(faults, ("triggers", index, "schedule"), trigger)
        elif isinstance(trigger, Poll):
            check_poll(Place(faults, actions, ("triggers", index, "poll")), trigger)
        elif trigger.of == (declaration.name,):
            own = "a workflow does not watch its own failures: its on_failure runs then"
            faults.add(("triggers", index, "failure", "of"), own)
    if declaration.input is not None:
        _check_schema(faults, declaration.input)
    _check_flow_control(faults, declaration)
    if not isinstance(declaration, Workflow):  # whose compiler looks at it
        check_answer(Place(faults, {}), declaration)


def check_together(declarations: Sequence[Declaration]) -> list[DefinitionError]:
    """What several workflows claim at once: a name, or a hook's path; and whom they call.

    Whom is called may have been deployed from elsewhere: only a name that is nearly one of theirs is a fault.
    """
    found: list[DefinitionError] = []
    known = [declaration.name for declaration in declarations]
    names: dict[str, Declaration] = {}
    hooks: dict[str, Declaration] = {}
    for declaration in declarations:
        faults = Faults(declaration)
        with suppress(Enough):
            _check_claims(faults, declaration, names, hooks)
            if isinstance(declaration, Workflow):
                _check_calls(faults, declaration, known)
        found += faults.found
    return found


def _check_claims(
    faults: Faults, declaration: Declaration, names: dict[str, Declaration], hooks: dict[str, Declaration]
) -> None:
    first = names.setdefault(declaration.name, declaration)
    if first is not declaration:
        faults.add(("name",), f"there is a workflow {declaration.name!r} already, in {_place(first)}")
    for index, trigger in enumerate(declaration.triggers):
        if not isinstance(trigger, Webhook) or trigger.path is None:
            continue
        if trigger.path in hooks:
            place = _place(hooks[trigger.path])
            faults.add(("triggers", index, "webhook", "path"), f"the hook {trigger.path!r} is taken, by {place}")
        hooks.setdefault(trigger.path, declaration)


def _check_calls(faults: Faults, workflow: Workflow, known: Sequence[str]) -> None:
    for place, step in workflow.placed_steps():
        if isinstance(step, Call) and step.call not in known and (near := nearest(step.call, known)):
            faults.add((*place, "call"), f"no workflow {step.call!r}; did you mean {near!r}?")


def _place(declaration: Declaration) -> str:
    return f"{declaration.file} ({declaration.name})" if declaration.file else declaration.name


def _check_webhook(faults: Faults, path: Path, webhook: Webhook) -> None:
    if isinstance(webhook.auth, AuthSpec):
        try:
            build_scheme(webhook.auth.scheme, webhook.auth.options)
        except DefinitionError as error:
            message = error.message.removeprefix("auth: ")
            key = _key_of(webhook.auth, message)
            faults.add((*path, "auth", *key), message.removeprefix(f"{key[0]}: ") if key else message)
    place = Place(faults, {}, path, EVENT_NAMES)
    dedupe = place.at("dedupe")
    dedupe.value(webhook.dedupe)
    dedupe.shape(webhook.dedupe)
    if webhook.when is not None:
        place.at("when").condition(webhook.when)


def _key_of(auth: AuthSpec, message: str) -> Sequence[str]:
    """The key of `auth` that a message about it is of; none when it is of something that is missing."""
    if auth.scheme not in scheme_names():
        return ("scheme",)
    named = (key for key in auth.options if message.startswith(f"{key}: ") or f" no option {key!r}" in message)
    return list(named)[:1]


def _check_flow_control(faults: Faults, declaration: Declaration) -> None:
    limits = declaration.concurrency
    paths: list[tuple[Path, str | None]] = [
        (("concurrency", "key") if len(limits) == 1 else ("concurrency", index, "key"), one.key)
        for index, one in enumerate(limits)
    ]
    singles = {name: getattr(declaration, name) for name in ("throttle", "debounce", "batch")}
    paths += [((name, "key"), one.key) for name, one in singles.items() if one]
    paths += [(("priority",), declaration.priority)] if isinstance(declaration.priority, str) else []
    for path, source in paths:
        if source is not None:
            Place(faults, {}, path, EVENT_NAMES).expression(source)
    gathers = [name for name in ("debounce", "batch") if singles[name]]
    if len(gathers) > 1:
        faults.add(("batch",), "debounce and batch exclude each other: one drops events, the other gathers them")
    elif gathers and declaration.respond.when == "finished":
        why = f"a sender can't be kept waiting for its own result: {gathers[0]} makes one execution of many events"
        faults.add(("respond", "when"), why)


def _check_schedule(faults: Faults, path: Path, schedule: Schedule) -> None:
    if schedule.cron is not None:
        try:
            if len(schedule.cron.split()) != 5:
                raise CronSimError("it has five fields: minute, hour, day, month, weekday")
            CronSim(schedule.cron, datetime.now(UTC))
        except CronSimError as error:
            faults.add((*path, "cron"), f"{schedule.cron!r} is not a cron line: {error}")
    if schedule.timezone is not None:
        try:
            ZoneInfo(schedule.timezone)
        except (LookupError, ValueError, OSError):  # OSError: the name of a folder, like Europe
            near = difflib.get_close_matches(schedule.timezone, available_timezones(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "expected one like Europe/Berlin"
            faults.add((*path, "timezone"), f"unknown timezone {schedule.timezone!r}; {hint}")


def _check_schema(faults: Faults, schema: Mapping[str, Any]) -> None:
    if (malformed := malformed_part(schema)) is not None:
        path, message = malformed
        faults.add(("input", *path), f"not a JSON Schema: {message}")
        return
    for path, message in schema_faults(schema):
        faults.add(("input", *path), message)
