"""Workflows as Python code: the `@workflow` decorator, and loading them from a file or from a published version."""

from __future__ import annotations

import hashlib
import inspect
import linecache
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from flows.engine.authors_code import line_in
from flows.engine.program import program_of_function
from flows.history import WorkflowVersion
from flows.language.definition import Declaration, Position
from flows.language.event import Event
from flows.language.yaml_source import declare
from flows.on_prefect.flow import WorkflowFlow, make_flow, version_of
from foundation.errors import DefinitionError

Function = Callable[[Event], Awaitable[Any]]
TriggerSpec = Mapping[str, Any]
"""A trigger as YAML writes it; checked when the workflow is made of it, so that its errors name the file."""

_loading: ContextVar[tuple[str, str, str] | None] = ContextVar("_loading", default=None)
"""Name, source and file of the module that is being loaded; it may import others that define workflows."""


def webhook(
    *,
    auth: Literal["none"] | Mapping[str, Any],
    path: str | None = None,
    methods: Sequence[str] = ("POST",),
    dedupe: str | None = None,
    when: str | None = None,
) -> TriggerSpec:
    """A webhook trigger, as in YAML.

    Args:
        auth: `{"scheme": …, "credential": …}`, or the word "none" to take anything from anyone.
        path: `POST /hooks/{path}`; default: the workflow's name.
        dedupe: a text with expressions over `event` that tells deliveries apart; default: the scheme's delivery id.
        when: an expression over `event`; an event for which it is false starts nothing.
    """
    given = {"auth": auth, "path": path, "methods": list(methods), "dedupe": dedupe, "when": when}
    return {"webhook": {key: value for key, value in given.items() if value is not None}}


def schedule(
    *,
    cron: str | None = None,
    timezone: str | None = None,
    every: str | float | None = None,
    missed: str | None = None,
) -> TriggerSpec:
    """A schedule trigger: a cron line with its time zone, or `every` duration (`10m`, or seconds).

    Of times that passed while nothing could start, `missed` runs the newest (`once`), none (`skip`) or `all`.
    """
    given = {"cron": cron, "timezone": timezone, "every": every, "missed": missed}
    return {"schedule": {key: value for key, value in given.items() if value is not None}}


def poll(
    *,
    uses: str,
    every: str | float,
    with_: Mapping[str, Any] | None = None,
    credential: str | None = None,
    items: str | None = None,
    key: str | None = None,
    cursor: str | None = None,
    from_: Literal["now", "start"] | None = None,
    each: Literal["item", "batch"] | None = None,
) -> TriggerSpec:
    """A poll trigger, as in YAML: an execution for each item that an action gives and did not give before.

    Args:
        uses: the action, like `rss.items`.
        every: a duration (`10m`, or seconds).
        with_: the action's arguments, with expressions over `cursor` and `now`; `credential` beside them.
        items: an expression over `output`, the action's, that gives the list; default: the output.
        key: an expression over `item` that tells items apart; default: `item.id`.
        cursor: an expression over `output` that gives what the next poll's arguments see as `cursor`.
        from_: what the first poll makes of what it finds: nothing (`now`, the default) or executions (`start`).
        each: an execution for each `item` (the default), or one for all new ones (`batch`).
    """
    given = {"uses": uses, "every": every, "with": with_, "credential": credential, "items": items, "key": key}
    given |= {"cursor": cursor, "from": from_, "each": each}
    return {"poll": {key: value for key, value in given.items() if value is not None}}


def failure(*, of: Sequence[str]) -> TriggerSpec:
    """A failure trigger: another workflow's execution has failed, and is the event's body.

    Args:
        of: names of workflows; `*` stands for any characters.
    """
    return {"failure": {"of": list(of)}}


def workflow(
    *,
    triggers: Sequence[TriggerSpec] = (),
    name: str | None = None,
    tags: Sequence[str] = (),
    concurrency: int | Mapping[str, Any] | Sequence[Mapping[str, Any]] = 10,
    throttle: Mapping[str, Any] | None = None,
    debounce: Mapping[str, Any] | None = None,
    batch: Mapping[str, Any] | None = None,
    priority: str | float = 0.0,
    timeout: str | float = "5m",
    mode: Literal["standard", "express"] | None = None,
    input: Mapping[str, Any] | None = None,
    respond: Mapping[str, Any] | None = None,
) -> Callable[[Function], WorkflowFlow]:
    """Makes an async function of one event a workflow: a Prefect flow whose executions are recorded.

    Its description is the docstring; its name, unless given, the function's with dashes. The arguments mean what the
    keys of the same names mean in YAML.

    Raises:
        DefinitionError: an argument is wrong; the message names it.
    """

    def decorate(function: Function) -> WorkflowFlow:
        source, file = _source_of(function)
        if not inspect.iscoroutinefunction(function):
            line = function.__code__.co_firstlineno if inspect.isfunction(function) else None
            raise DefinitionError("a workflow is an async function: `async def`", file=file, line=line)
        data: dict[str, Any] = {
            "name": name or function.__name__.replace("_", "-"),
            "description": inspect.getdoc(function) or "",
            "tags": list(tags),
            "triggers": list(triggers),
            "concurrency": concurrency,
            "priority": priority,
            "timeout": timeout,
        }
        optional = {"mode": mode, "throttle": throttle, "debounce": debounce, "batch": batch}
        optional |= {"input": input, "respond": respond}
        data |= {key: value for key, value in optional.items() if value is not None}
        line = function.__code__.co_firstlineno
        declaration = declare(Declaration, data, file=file, positions={(): Position(line)})

        version = version_of(declaration, source, language="python", file=file)
        return make_flow(program_of_function(version, declaration, function))

    return decorate


def load_python_file(path: Path) -> Sequence[WorkflowFlow]:
    """The workflows that a Python file defines; none if it is some other Python file.

    Raises:
        DefinitionError: the file can't be run; the message has the file, the line and the exception.
    """
    return _workflows_in(_run(path.read_text(encoding="utf-8"), str(path.resolve())))


def load_python_text(source: str, file: str) -> Mapping[str, WorkflowFlow]:
    """The workflows that Python code defines, by the names that they have in it; `file` is what it is called.

    Raises as `load_python_file`.
    """
    module = _run(source, file)
    return {name: value for name, value in vars(module).items() if any(value is flow for flow in _workflows_in(module))}


def load_python(version: WorkflowVersion) -> WorkflowFlow:
    """A published version as it was published, with the modules beside its file as they are now."""
    for flow in _workflows_in(_run(version.source, version.file)):
        if flow.declaration.name == version.workflow:
            return flow
    raise DefinitionError(f"defines no workflow {version.workflow!r}", file=version.file)


def _run(source: str, file: str) -> ModuleType:
    name = f"ipaas_workflow_{hashlib.sha256((file + source).encode()).hexdigest()[:16]}"
    module = ModuleType(name)
    module.__file__ = file
    folder = str(Path(file).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[name] = module
    token = _loading.set((name, source, file))
    try:
        exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102 - the author's own code is what we run
    except DefinitionError:
        raise
    except SyntaxError as error:
        said = f"{type(error).__name__}: {error.msg}"
        raise DefinitionError(said, file=file, line=error.lineno, column=error.offset) from None
    except (Exception, SystemExit) as error:
        raise DefinitionError(f"{type(error).__name__}: {error}", file=file, line=line_in(error, file)) from error
    finally:
        _loading.reset(token)
    return module


def _workflows_in(module: ModuleType) -> list[WorkflowFlow]:
    return [
        value for value in vars(module).values() if isinstance(value, WorkflowFlow) and value.file == module.__file__
    ]


def _source_of(function: Function) -> tuple[str, str]:
    loading = _loading.get()
    if loading and function.__module__ == loading[0]:
        return loading[1:]
    file = inspect.getsourcefile(function)
    if file is None:
        return inspect.getsource(function), "<python>"
    if not Path(file).exists() and (cell := "".join(linecache.getlines(file))):  # a notebook's
        return cell, str(Path.cwd() / "a notebook's cell")
    return Path(file).read_text(encoding="utf-8"), str(Path(file).resolve())
