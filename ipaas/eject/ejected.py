"""What is known of a workflow while it becomes Python: names, what is referred to, and calls of actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from connectors.kit.action import Action
from connectors.openapi.operations import OperationAction
from flows.expressions import is_template
from flows.language.approve import Approve
from flows.language.call import Call
from flows.language.ends import Fail, Stop
from flows.language.for_each import ForEach
from flows.language.repeat import Repeat
from flows.language.set_values import SetValues
from flows.language.signal import Signal
from flows.language.step import Step, every_step
from flows.language.switch import Switch
from flows.language.uses import Uses as UsesAction
from flows.language.wait import Wait, WaitFor
from flows.language.workflow import Workflow
from ipaas.eject.expressions import Python, Translator, Uses
from ipaas.eject.layout import Code, Group, Lines, duration, literal, quoted
from ipaas.eject.names import Names


class Refused(Exception):
    """A step has no equivalent in Python."""

    def __init__(self, step: Step, reason: str) -> None:
        super().__init__(reason)
        self.step = step


@dataclass(frozen=True)
class Here:
    """A place in the function.

    Attributes:
        names: what expressions see beyond the event, as code.
        no_stop: why `stop` can't stand here.
        tried: whether a failure here is caught somewhere.
        handling: whether this runs because something has failed.
    """

    names: Mapping[str, Python]
    no_stop: str | None = None
    tried: bool = False
    handling: bool = False


@dataclass
class Ejected:
    """One workflow on its way.

    Attributes:
        uses: what its expressions refer to.
        words: of `flows` that the code needs.
        modules: that it imports, by how they are called there.
        declared: the steps whose variables have a type already.
    """

    workflow: Workflow
    actions: Mapping[str, Action[Any, Any]]
    names: Names
    uses: Uses
    outputs: set[str]
    words: set[str] = field(default_factory=set)
    modules: set[tuple[str, str]] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)
    _named: dict[tuple[str, str], str] = field(default_factory=dict)

    def name(self, step: str, attribute: str) -> str:
        """Of the variable that has a step's output, status or error."""
        key = (step, attribute)
        if key not in self._named:
            suffix = "" if attribute == "output" else f"_{attribute}"
            self._named[key] = self.names.new(f"{step}{suffix}")
        return self._named[key]

    def wants(self, step: Step, attribute: str) -> bool:
        if attribute == "output":
            return step.id in self.outputs
        return attribute in self.uses.steps.get(step.id, ())

    def python(self, here: Here) -> Translator:
        return Translator(self.workflow.name, here.names, self.name, self.words)

    def assigned(self, step: Step) -> str:
        return f"{self.name(step.id, 'output')} = " if self.wants(step, "output") else ""

    def failure(self, step: Step, message: Code, code: Sequence[tuple[str, Code]]) -> Group:
        self.words.add("Failed")
        return Group("Failed(", [("", message), *code, ("id=", quoted(step.id))], ")")

    def call(self, step: UsesAction, here: Here, to: Lines, *, named: bool = True) -> Group:
        action = self.actions[step.uses]
        module, function = self._imported(step, action)
        called = f"{module}.{function}" + (f".with_id({quoted(step.id)})" if named else "")
        if step.timeout is not None:
            called += f".with_timeout({duration(step.timeout)})"
        if step.retry is not None:
            said = step.retry.model_dump(exclude_defaults=True)
            options = [(f"{key}=", literal(value)) for key, value in said.items()]
            name = self.names.new(f"{step.id}_action")
            to.add(called, f"{name} = ")
            to.add(Group(f"{name}.with_retry(", options, ")"), f"{name} = ")
            called = name
        python = self.python(here)
        names = action.python_names if isinstance(action, OperationAction) else {}
        arguments = [
            (f"{names.get(key, key)}=", self._argument(action, key, value, python)) for key, value in step.with_.items()
        ]
        if step.credential is not None:
            arguments.append(("credential=", quoted(step.credential)))
        return Group(f"{called}(", arguments, ")")

    def _argument(self, action: Action[Any, Any], key: str, value: Any, python: Translator) -> Code:
        parameter = action.signature.parameters.get(key)
        if parameter is None or key in action.unrendered or key in action.urls:
            return python.argument(value, key in action.urls, key in action.unrendered)
        if not is_template(value):
            return literal(_as_typed(value, parameter.annotation))
        if not isinstance(value, str):
            return python.value(value)
        made = python.text(value)
        wanted = str(parameter.annotation)
        if made.kind == "number" and "str" in wanted:
            return f"str({made.code})"
        if made.kind in ("truth", "text") and ("Literal" in wanted or (made.kind == "truth" and "str" in wanted)):
            return python.rendered(value).whole  # whose type is looked at when it is called
        return made.whole

    def _imported(self, step: Step, action: Action[Any, Any]) -> tuple[str, str]:
        place = action.fn.__module__
        if isinstance(action, OperationAction):  # its module is the project's, which need not be there now
            package, _, module = place.rpartition(".")
            self.modules.add((package, module))
            return module, action.fn.__name__
        found = __import__(place, fromlist=["_"])
        names = (action.fn.__name__, *vars(found))  # a package may load what it has when it is asked for
        function = next((name for name in names if getattr(found, name, None) is action), None)
        if function is None:
            raise Refused(step, f"{action.action_name} can't be imported from {place}")
        package, _, module = place.rpartition(".")
        self.modules.add((package, module))
        return module, function


def _as_typed(value: Any, annotation: Any) -> Any:
    """A literal as the parameter takes it: `30s` as 30.0."""
    config = ConfigDict(coerce_numbers_to_str=True, arbitrary_types_allowed=True)
    try:
        return TypeAdapter(annotation, config=config).validate_python(value)
    except (ValidationError, PydanticUserError):
        return value


def uses_in(steps: Sequence[Step], *, until: str | bool = True) -> Iterator[Uses]:
    """What each of these steps, however deep, refers to."""
    for step in every_step(steps):
        found = Uses()
        note(step, found)
        yield found
    last = Uses()
    last.note(until, bare=True)
    yield last


def note(step: Step, found: Uses) -> None:
    """Notes what a step's own expressions refer to."""
    found.note(step.if_, bare=True)
    match step:
        case UsesAction():
            found.note(step.with_)
        case SetValues():
            found.note(step.set_)
        case ForEach():
            found.note(step.for_each, bare=isinstance(step.for_each, str))
            found.note(step.with_)
        case Repeat():
            found.note(step.repeat.until, bare=True)
        case Switch():
            found.note(step.switch, bare=True)
        case Stop():
            found.note(step.stop.output)
        case Fail():
            found.note(step.fail)
        case Wait() if isinstance(step.wait, WaitFor):
            found.note([step.wait.until, step.wait.signal])
        case Approve():
            found.note(step.approve.message)
        case Signal():
            found.note([step.signal, step.body])
        case Call():
            found.note(step.with_)
