"""A workflow's file: imports, decorator and function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from keyword import iskeyword
from pathlib import Path
from typing import Any, Final

from connectors.kit.action import Action
from connectors.kit.descriptions import DESCRIPTIONS
from connectors.kit.registry import registry
from flows.language.definition import Declaration, Webhook
from flows.language.definition import Path as Place
from flows.language.place import FAILURE_NAMES
from flows.language.step import Step, every_step
from flows.language.workflow import Workflow
from flows.language.yaml_source import load_workflow
from flows.on_prefect.python_source import failure, poll, schedule, webhook, workflow
from foundation.errors import DefinitionError
from ipaas.eject.blocks import Blocks
from ipaas.eject.ejected import Here, Refused, note
from ipaas.eject.expressions import Python, Uses
from ipaas.eject.layout import Code, Group, Lines, literal
from ipaas.eject.names import Names


def eject(source: Path | str, file: str | None = None) -> str:
    """The equivalent Python of a YAML workflow.

    Args:
        source: the file's path, or its text.
        file: its name in messages; for a path, the path itself by default.

    Raises:
        DefinitionError: it is faulty, or something in it has no equivalent; with its line.
    """
    actions = registry()
    definition = load_workflow(source, file)
    definition.compile(DESCRIPTIONS)
    try:
        code = _Module(definition, actions).text()
        compile(code, "ejected", "exec")
    except SyntaxError as error:
        raise DefinitionError(f"its blocks are too deep for Python: {error.msg}", file=definition.file) from None
    except Refused as refused:
        place = next(place for place, step in definition.placed_steps() if step is refused.step)
        position = definition.position(*place)
        message = f"step {refused.step.id}: {refused}"
        raise DefinitionError(message, file=definition.file, line=position.line, column=position.column) from None
    return code


_TRIGGERS: Final[Mapping[str, Callable[..., Any]]] = {
    "webhook": webhook,
    "schedule": schedule,
    "poll": poll,
    "failure": failure,
}


class _Module:
    def __init__(self, definition: Workflow, actions: Mapping[str, Action[Any, Any]]) -> None:
        self._definition = definition
        uses = Uses()
        for step in definition.every_step():
            note(step, uses)
        uses.note(definition.output)
        uses.note(definition.vars)
        modules = {
            actions[name].fn.__module__.rpartition(".")[2] for step in definition.every_step() for name in step.actions
        }
        self._function = definition.name.replace("-", "_")
        names = Names([*modules, self._function])
        if self._function[0].isdigit() or not self._function.isidentifier():
            self._function = names.new(f"workflow_{self._function}")
        outputs = {step for step, attributes in uses.steps.items() if "output" in attributes}
        self._ejected = Blocks(definition, actions, names, uses, _with_last(definition.every_step(), outputs))
        for step in definition.every_step():
            if step.id in outputs:
                self._ejected.name(step.id, "output")
        self._vars = names.new("vars") if "vars" in uses.names else None

    def text(self) -> str:
        lines = Lines()
        lines.add(Group("@workflow(", list(self._declared()), ")"))
        body = lines.deeper()
        lines.add(f"async def {self._function}(event: Event) -> Any:")
        if self._definition.description:
            body.lines += _docstring(self._definition.description)
        start = len(lines.lines)
        self._body(body)
        if len(lines.lines) == start and not self._definition.description:
            body.add("pass")
        return "\n".join([*self._imports(lines.lines), "", "", *_without_ends(lines.lines), ""])

    def _body(self, to: Lines) -> None:
        ejected, definition = self._ejected, self._definition
        here = Here({})
        if self._vars:
            to.add(ejected.python(here).value(definition.vars), f"{self._vars}: dict[str, Any] = ")
            here = Here({"vars": Python(self._vars)})
        if not definition.on_failure:
            ejected.declare(definition.steps, here, to)
            ejected.block(definition.steps, here, to)
            self._return(here, to)
            return
        here = Here(here.names, tried=True)
        ejected.declare([*definition.steps, *definition.on_failure], here, to)
        to.add("try:")
        ejected.block(definition.steps, here, to.deeper())
        self._return(here, to.deeper())
        failed, error = ejected.names.new("failed"), ejected.names.new("error")
        to.add(f"except Exception as {failed}:")
        inner = to.deeper()
        uses = Uses()
        for step in every_step(definition.on_failure):
            note(step, uses)
        names = dict(here.names)
        if "error" in uses.names:
            ejected.words.add("as_error")
            inner.add(f"{error} = as_error({failed})")
            names |= dict.fromkeys(FAILURE_NAMES, Python(error))
        ejected.words.add("cleanup")
        inner.add("with cleanup():")
        ejected.block(
            definition.on_failure, Here(names, no_stop="on_failure", tried=True, handling=True), inner.deeper()
        )
        inner.add("raise")

    def _return(self, here: Here, to: Lines) -> None:
        if self._definition.output is not None:
            to.add(self._ejected.python(here).value(self._definition.output), "return ")
        elif any(line.strip().startswith("return ") for line in to.lines):
            to.add("return None")

    def _declared(self) -> Iterator[tuple[str, Code]]:
        """The decorator's arguments."""
        said = self._definition.model_dump(
            mode="json",
            include=set(Declaration.model_fields),
            exclude_defaults=True,
            exclude={"description", "triggers"},
        )
        if self._function.replace("_", "-") == said["name"]:
            del said["name"]
        if self._definition.triggers:
            triggers = [("", self._trigger(index)) for index in range(len(self._definition.triggers))]
            yield "triggers=", Group("[", triggers, "]")
        known = inspect.signature(workflow).parameters
        for key, value in said.items():
            if key not in known:
                self._refuse((key,), f"{key} has no equivalent in Python")
            if key == "respond":
                uses = Uses()
                uses.note(value)
                if uses.names & {"steps", "vars"}:
                    self._refuse(
                        ("respond",), "steps and vars can't be referred to in a Python workflow's answer; output can"
                    )
            yield f"{key}=", literal(value)

    def _trigger(self, index: int) -> Code:
        trigger = self._definition.triggers[index]
        [(kind, said)] = trigger.model_dump(mode="json").items()
        place = ("triggers", index)
        said = {f"{key}_" if iskeyword(key) else key: value for key, value in said.items()}
        if isinstance(trigger, Webhook):
            said = {"auth": said.pop("auth")} | said
            if said["path"] == self._definition.name:
                del said["path"]
            if said["methods"] == ["POST"]:
                del said["methods"]
        if unknown := said.keys() - inspect.signature(_TRIGGERS[kind]).parameters.keys():
            self._refuse(place, f"{min(unknown)} of a {kind} has no equivalent in Python")
        self._ejected.words.add(kind)
        return Group(f"{kind}(", [(f"{key}=", literal(value)) for key, value in said.items()], ")")

    def _refuse(self, place: Place, reason: str) -> None:
        position = self._definition.position(*place)
        raise DefinitionError(reason, file=self._definition.file, line=position.line, column=position.column)

    def _imports(self, lines: Sequence[str]) -> list[str]:
        packages: dict[str, set[str]] = {"flows": {"Event", "workflow", *self._ejected.words}}
        for package, module in self._ejected.modules:
            packages.setdefault(package, set()).add(module)
        found = ["from typing import Any", ""]
        for package, names in sorted(packages.items()):
            items = [("", name) for name in sorted(names, key=lambda name: (name[0].islower(), name))]
            if not package:
                found += [f"import {name}" for _, name in items]
                continue
            line = f"from {package} import {', '.join(name for _, name in items)}"
            found += (
                [line] if len(line) <= 88 else [f"from {package} import (", *(f"    {name}," for _, name in items), ")"]
            )
        return found


def _with_last(steps: Iterator[Step], outputs: set[str]) -> set[str]:
    """Also those whose output is that of the block that they end."""
    found = set(outputs)
    for step in steps:  # each before those inside it
        if step.id in found:
            found |= {inner.steps[-1].id for inner in step.inner() if inner.at[-1] not in ("finally", "notify")}
    return found


def _docstring(description: str) -> list[str]:
    escaped = description.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    first, *rest = escaped.splitlines()
    if not rest:
        end = " " if first.endswith('"') else ""
        return [f'    """{first}{end}"""']
    return [f'    """{first.rstrip()}', *(f"    {line.rstrip()}".rstrip() for line in rest), '    """']


def _without_ends(lines: Sequence[str]) -> list[str]:
    """Without blank lines that stand at the end of a block or the file."""
    kept: list[str] = []
    for index, line in enumerate(lines):
        if line or (index + 1 < len(lines) and _goes_on(lines, index)):
            kept.append(line)
    return kept


def _goes_on(lines: Sequence[str], index: int) -> bool:
    after = lines[index + 1]
    return bool(after) and not after.lstrip().startswith(("except", "else:", "finally:", "case "))
