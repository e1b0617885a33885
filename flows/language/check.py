"""What can be known of a workflow before it runs, without a server: `ipaas check`.

A definition that was read is well-formed; here its expressions, its steps' order, its actions' arguments, its
triggers and its input schema are looked at, and what several files may not share.
"""

from __future__ import annotations

import difflib
import inspect
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from jsonschema import Draft202012Validator, SchemaError
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from connectors.webhooks import build_scheme
from flows.expressions import is_template
from flows.language.definition import AuthSpec, Declaration, Path, Schedule, Step, Webhook, Workflow
from flows.language.input_schema import schema_faults
from flows.language.order import DEDUPE_NAMES, check_answer, check_expressions
from flows.language.plan import compile_workflow
from flows.language.yaml_source import DefinitionErrors, Faults, load_workflow
from foundation.errors import DefinitionError

__all__ = [
    "ActionInfo",
    "Actions",
    "check_declaration",
    "check_files",
    "check_together",
    "check_workflow",
    "find_workflow_files",
]

YAML_SUFFIXES: Final = (".yaml", ".yml")


class ActionInfo(Protocol):
    """What is asked of an action; `connectors.kit.action.Action` has it."""

    @property
    def signature(self) -> inspect.Signature: ...
    @property
    def credential(self) -> Collection[Any]:
        """The types it takes; empty: none."""
        ...

    @property
    def credential_required(self) -> bool: ...
    @property
    def unrendered(self) -> Collection[str]: ...


Actions = Mapping[str, ActionInfo]
"""All there are, by name: `connectors.kit.registry.registry()`."""


def find_workflow_files(
    paths: Iterable[pathlib.Path], suffixes: Sequence[str] = YAML_SUFFIXES
) -> Iterator[pathlib.Path]:
    """The files, and those with one of these suffixes in the folders, however deep; hidden ones are left out.

    Raises:
        DefinitionError: a path does not exist.
    """
    for path in dict.fromkeys(paths):
        if path.is_dir():
            inside = sorted(found for found in path.rglob("*") if found.suffix in suffixes and found.is_file())
            yield from (found for found in inside if not _is_hidden(found.relative_to(path)))
        elif path.exists():
            yield path
        else:
            raise DefinitionError("there is no such file or folder", file=str(path))


def _is_hidden(path: pathlib.Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


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
                declarations += load(file)
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
            faults += check_declaration(declaration)
    return faults + check_together(declarations)


def check_workflow(workflow: Workflow, actions: Actions) -> list[DefinitionError]:
    """Everything that is wrong with the workflow by itself, by line."""
    faults = Faults(workflow)
    for index, step in enumerate(workflow.steps):
        _check_step(faults, ("steps", index), step, actions)
    found = [*check_declaration(workflow), *faults.found]
    try:
        compile_workflow(workflow, actions)
    except DefinitionErrors as errors:
        found += errors.errors
    return sorted(found, key=lambda fault: fault.line or 0)


def check_declaration(declaration: Declaration) -> list[DefinitionError]:
    """What is wrong with the triggers and the input schema, of YAML and Python workflows alike."""
    faults = Faults(declaration)
    for index, trigger in enumerate(declaration.triggers):
        if isinstance(trigger, Webhook):
            _check_webhook(faults, ("triggers", index, "webhook"), trigger)
        else:
            _check_schedule(faults, ("triggers", index, "schedule"), trigger)
    if declaration.input is not None:
        _check_schema(faults, declaration.input)
    if not isinstance(declaration, Workflow):  # whose compiler looks at it
        check_answer(faults, declaration, ())
    return faults.found


def check_together(declarations: Sequence[Declaration]) -> list[DefinitionError]:
    """What several workflows claim at once: a name, or a hook's path."""
    found: list[DefinitionError] = []
    names: dict[str, Declaration] = {}
    hooks: dict[str, Declaration] = {}
    for declaration in declarations:
        faults = Faults(declaration)
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
        found += faults.found
    return found


def _place(declaration: Declaration) -> str:
    return f"{declaration.file} ({declaration.name})" if declaration.file else declaration.name


def _check_webhook(faults: Faults, path: Path, webhook: Webhook) -> None:
    if isinstance(webhook.auth, AuthSpec):
        try:
            build_scheme(webhook.auth.scheme, webhook.auth.options)
        except DefinitionError as error:
            faults.add((*path, "auth"), error.message.removeprefix("auth: "))
    check_expressions(faults, (*path, "dedupe"), webhook.dedupe, DEDUPE_NAMES)


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
            faults.add((*path, "timezone"), f"unknown timezone {schedule.timezone!r}; expected one like Europe/Berlin")


def _check_schema(faults: Faults, schema: Mapping[str, Any]) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        faults.add(("input", *error.absolute_path), f"not a JSON Schema: {error.message}")
        return
    for path, message in schema_faults(schema):
        faults.add(("input", *path), message)


def _check_step(faults: Faults, path: Path, step: Step, actions: Actions) -> None:
    action = actions.get(step.uses)
    if action is None:
        faults.add((*path, "uses"), _unknown_action(step.uses, actions))
        return
    if step.credential is not None and not action.credential:
        faults.add((*path, "credential"), f"{step.uses} takes no credential")
    if step.credential is None and action.credential_required:
        faults.add(path, f"{step.uses} needs a credential: NAME")
    parameters = {name: part for name, part in action.signature.parameters.items() if name != "credential"}
    for name, value in step.with_.items():
        if name in parameters:
            _check_type(faults, (*path, "with", name), value, parameters[name].annotation)
        elif name == "credential" and action.credential:
            faults.add((*path, "with", name), "credential stands beside with, not in it")
        else:
            faults.add((*path, "with", name), f"{step.uses} has no argument {name!r}; {_nearest(name, parameters)}")
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in step.with_:
            faults.add((*path, "with"), f"{step.uses} needs the argument {name!r}")


def _unknown_action(name: str, actions: Actions) -> str:
    connector = name.partition(".")[0]
    siblings = [known for known in actions if known.startswith(f"{connector}.")]
    return f"unknown action {name!r}; {_nearest(name, siblings or actions)}"


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(sorted(known))}" if known else "there is none"


def _check_type(faults: Faults, path: Path, value: Any, annotation: Any) -> None:
    """Notes a literal that the parameter can't take; what an expression gives is not known before it runs."""
    if is_template(value):
        return
    try:
        _adapter(annotation).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        faults.add((*path, *first["loc"]), first["msg"].replace("Input should be", "expected"))
    except PydanticUserError:
        return  # a type that pydantic can't check: the action does


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        config = ConfigDict(coerce_numbers_to_str=True, arbitrary_types_allowed=True)
        return TypeAdapter(annotation, config=config)
    except PydanticUserError:  # a model brings its own configuration
        return TypeAdapter(annotation)
