"""Steps as statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from connectors.kit.action import Action
from flows.expressions import is_template
from flows.language.ends import Fail, Stop
from flows.language.for_each import ForEach
from flows.language.place import FAILURE_NAMES
from flows.language.repeat import Repeat
from flows.language.set_values import SetValues
from flows.language.step import Step, every_step, seen_of
from flows.language.switch import Switch
from flows.language.try_catch import Try
from flows.language.uses import Uses as UsesAction
from flows.language.wait import Wait, WaitFor
from flows.language.workflow import Workflow
from ipaas.eject.expressions import Python, Translator, Uses
from ipaas.eject.layout import Code, Group, Lines, literal, number, quoted
from ipaas.eject.names import Names
from ipaas.eject.order import InTurn, Order, SideBySide, Tangled, order_of


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
    """

    workflow: Workflow
    actions: Mapping[str, Action[Any, Any]]
    names: Names
    uses: Uses
    outputs: set[str]
    words: set[str] = field(default_factory=set)
    modules: set[tuple[str, str]] = field(default_factory=set)
    _named: dict[tuple[str, str], str] = field(default_factory=dict)
    _declared: set[str] = field(default_factory=set)

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

    # Blocks

    def function(self, steps: Sequence[Step], here: Here, to: Lines) -> None:
        """A function's body, or a round's: its variables first that do not come into being in one place."""
        self.declare(steps, here, to)
        self.block(steps, here, to)

    def declare(self, steps: Sequence[Step], here: Here, to: Lines) -> None:
        in_turn = all(step.needs is None for step in steps) and not here.tried
        for step in self._seen(steps):
            sure = in_turn and step in steps and step.if_ is None and step.on_error == "fail"
            sure = sure and not (isinstance(step, Switch) and not step.default)
            if self.wants(step, "output") and not sure:
                self._declared.add(step.id)
                to.add(f"{self.name(step.id, 'output')}: Any = None")
            if self.wants(step, "status"):
                to.add(f'{self.name(step.id, "status")} = "skipped"')
            if self.wants(step, "error"):
                to.add(f"{self.name(step.id, 'error')}: Any = None")

    def _seen(self, steps: Sequence[Step]) -> list[Step]:
        """The steps, and those in their blocks that are no loop's rounds."""
        ids = set(seen_of(steps))
        return [step for step in every_step(steps) if step.id in ids]

    def block(self, steps: Sequence[Step], here: Here, to: Lines) -> None:
        if not steps:
            to.add("pass")
            return
        try:
            self._ordered(order_of(steps), here, to)
        except Tangled:
            reason = "its needs are no nesting of one after the other and side by side, as Python's are"
            raise Refused(next(step for step in steps if step.needs is not None), reason) from None

    def _ordered(self, order: Order, here: Here, to: Lines) -> None:
        match order:
            case InTurn():
                for part in order.parts:
                    self._ordered(part, here, to)
            case SideBySide():
                self._side_by_side(order, here, to)
            case _:
                self.step(order, here, to)

    def _side_by_side(self, order: SideBySide, here: Here, to: Lines) -> None:
        targets: list[str] = []
        calls: list[Code] = []
        for part in order.parts:
            if (
                isinstance(part, UsesAction)
                and part.if_ is None
                and part.on_error == "fail"
                and not self._watched(part)
            ):
                calls.append(self._call(part, here, to))
                targets.append(self.name(part.id, "output") if self.wants(part, "output") else "_")
                continue
            steps = list(_steps_in(part))
            name = self.names.new(f"branch_{steps[0].id}")
            to.blank()
            to.add(f"async def {name}() -> None:")
            inner = to.deeper()
            outer = [
                self.name(step.id, attribute)
                for step in self._seen(steps)
                for attribute in ("output", "status", "error")
                if self.wants(step, attribute)
            ]
            if outer:
                inner.add(f"nonlocal {', '.join(outer)}")
            self._ordered(part, replace(here, no_stop="what runs side by side"), inner)
            to.blank()
            calls.append(f"{name}()")
            targets.append("_")
        self.words.add("gather")
        assigned = f"{', '.join(targets)} = " if set(targets) != {"_"} else ""
        to.add(Group("await gather(", [("", call) for call in calls], ")"), assigned)

    # Steps

    def step(self, step: Step, here: Here, to: Lines) -> None:
        """One step, with its condition and what becomes of its failure."""
        inner = to
        watched = step.on_error == "continue" or (here.tried and self._watched(step))
        if watched:
            to.add("try:")
            inner = to.deeper()
            here = replace(here, tried=True)
        body = inner
        if step.if_ is not None:
            inner.add(self.python(here).expression(step.if_).whole, "if ", ":")
            body = inner.deeper()
        self._kind(step, here, body)
        if self.wants(step, "status") and not isinstance(step, (Stop, Fail)):
            body.add(f'{self.name(step.id, "status")} = "succeeded"')
        if watched:
            self._failed(step, to)

    def _watched(self, step: Step) -> bool:
        return self.wants(step, "status") or self.wants(step, "error")

    def _failed(self, step: Step, to: Lines) -> None:
        if self.wants(step, "error"):
            failed = self.names.new("failed")
            to.add(f"except Exception as {failed}:")
            self.words.add("failure")
            to.deeper().add(f"{self.name(step.id, 'error')} = failure({failed})")
        else:
            to.add("except Exception:")
        inner = to.deeper()
        if self.wants(step, "status"):
            inner.add(f'{self.name(step.id, "status")} = "failed"')
        if step.on_error == "fail":
            inner.add("raise")
        elif not self._watched(step):
            inner.add("pass")

    def _kind(self, step: Step, here: Here, to: Lines) -> None:
        kinds: Mapping[type[Step], Callable[[Any, Here, Lines], None]] = {
            UsesAction: self._uses,
            SetValues: self._set,
            ForEach: self._for_each,
            Repeat: self._repeat,
            Switch: self._switch,
            Try: self._try,
            Wait: self._wait,
            Stop: self._stop,
            Fail: self._fail,
        }
        if type(step) not in kinds:
            raise Refused(step, f"{step.kind} has no equivalent in Python that is known here")
        kinds[type(step)](step, here, to)

    def _assigned(self, step: Step) -> str:
        return f"{self.name(step.id, 'output')} = " if self.wants(step, "output") else ""

    def _uses(self, step: UsesAction, here: Here, to: Lines) -> None:
        call = self._call(step, here, to)
        to.add(replace(call, open=f"await {call.open}"), self._assigned(step))

    def _call(self, step: UsesAction, here: Here, to: Lines, *, named: bool = True) -> Group:
        action = self.actions[step.uses]
        module, function = self._imported(step, action)
        called = f"{module}.{function}" + (f".with_id({quoted(step.id)})" if named else "")
        if step.timeout is not None:
            called += f".with_timeout({number(step.timeout)})"
        if step.retry is not None:
            said = step.retry.model_dump(exclude_defaults=True)
            options = [(f"{key}=", literal(value)) for key, value in said.items()]
            name = self.names.new(f"{step.id}_action")
            to.add(called, f"{name} = ")
            to.add(Group(f"{name}.with_retry(", options, ")"), f"{name} = ")
            called = name
        python = self.python(here)
        arguments = [(f"{key}=", self._argument(action, key, value, python)) for key, value in step.with_.items()]
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
        found = __import__(place, fromlist=["_"])
        function = next((name for name, value in vars(found).items() if value is action), None)
        if function is None:
            raise Refused(step, f"{action.action_name} can't be imported from {place}")
        package, _, module = place.rpartition(".")
        self.modules.add((package, module))
        return module, function

    def _set(self, step: SetValues, here: Here, to: Lines) -> None:
        name = self.name(step.id, "output")
        typed = name if step.id in self._declared else f"{name}: dict[str, Any]"
        to.add(self.python(here).value(step.set_), f"{typed} = ")

    def _wait(self, step: Wait, here: Here, to: Lines) -> None:
        if isinstance(step.wait, WaitFor):
            raise Refused(step, "a wait for an instant, a signal or a callback has no equivalent that is known here")
        self.words.add("sleep")
        to.add(f"await sleep({number(step.wait)}, id={quoted(step.id)})")
        if self.wants(step, "output"):
            to.add(f"{self.name(step.id, 'output')} = None")

    def _stop(self, step: Stop, here: Here, to: Lines) -> None:
        if here.no_stop:
            raise Refused(step, f"stop within {here.no_stop} has no equivalent: a return would end only that")
        to.add(self.python(here).value(step.stop.output), "return ")

    def _fail(self, step: Fail, here: Here, to: Lines) -> None:
        code = [("code=", quoted(step.code))] if step.code != "failed" else []
        to.add(self._failure(step, self.python(here).value(step.fail), code), "raise ")

    def _failure(self, step: Step, message: Code, code: Sequence[tuple[str, Code]]) -> Group:
        self.words.add("Failed")
        return Group("Failed(", [("", message), *code, ("id=", quoted(step.id))], ")")

    def _switch(self, step: Switch, here: Here, to: Lines) -> None:
        value = self.python(here).expression(step.switch)
        if value.kind != "text":
            self.words.add("text")
        to.add(f"match {value.code if value.kind == 'text' else f'text({value.code})'}:")
        inner = to.deeper()
        for key, steps in step.cases.items():
            inner.add(f"case {quoted(key)}:")
            self._ending(step, steps, here, inner.deeper())
        if step.default:
            inner.add("case _:")
            self._ending(step, step.default, here, inner.deeper())

    def _ending(self, step: Step, steps: Sequence[Step], here: Here, to: Lines) -> None:
        """A block that may be the one whose last output is the step's."""
        if steps or not self.wants(step, "output"):
            self.block(steps, here, to)
        if self.wants(step, "output") and not (steps and isinstance(steps[-1], (Stop, Fail)) and not steps[-1].if_):
            last = self.name(steps[-1].id, "output") if steps and steps[-1].id in self.outputs else "None"
            to.add(f"{self.name(step.id, 'output')} = {last}")

    def _try(self, step: Try, here: Here, to: Lines) -> None:
        if here.handling and step.finally_:
            raise Refused(step, "finally within catch, finally or on_failure has no exact equivalent in Python")
        to.add("try:")
        self._ending(step, step.try_, replace(here, tried=True), to.deeper())
        inside = replace(here, tried=here.tried or bool(step.finally_), handling=True)
        if step.catch is not None:
            if any("error" in one.names for one in _uses_in(step.catch)):
                failed, error = self.names.new("failed"), self.names.new("error")
                self.words.add("failure")
                to.add(f"except Exception as {failed}:")
                to.deeper().add(f"{error} = failure({failed})")
                inside = replace(inside, names={**here.names, **dict.fromkeys(FAILURE_NAMES, Python(error))})
            else:
                to.add("except Exception:")
            self._ending(step, step.catch, inside, to.deeper())
        if step.finally_:
            self.words.add("cleanup")
            to.add("finally:")
            to.deeper().add("with cleanup():")
            no_stop = "finally, which would swallow a failure,"
            self.block(step.finally_, replace(here, no_stop=no_stop, handling=True), to.deeper().deeper())

    # Loops

    def _repeat(self, step: Repeat, here: Here, to: Lines) -> None:
        rounds, every = step.repeat, step.repeat.every
        counts = every or any("index" in one.names for one in _uses_in(step.steps, until=rounds.until))
        index = self.names.new("index") if counts else "_"
        self.words |= {"each"}
        to.add(f"async for {index} in each(range({rounds.limit}), id={quoted(step.id)}):")
        inner = to.deeper()
        if every:
            self.words.add("sleep")
            inner.add(f"if {index}:")
            inner.deeper().add(f"await sleep({number(every)})")
        inside = replace(here, names={**here.names, "index": Python(index, "number")})
        self.function(step.steps, inside, inner)
        inner.add(self.python(inside).expression(rounds.until).whole, "if ", ":")
        if self.wants(step, "output"):
            inner.deeper().add(f"{self.name(step.id, 'output')} = {self.name(step.steps[-1].id, 'output')}")
        inner.deeper().add("break")
        to.add("else:")
        said = literal(f"its until did not hold in {rounds.limit} rounds: {rounds.until}")
        to.deeper().add(self._failure(step, said, [("code=", quoted("limit"))]), "raise ")

    def _for_each(self, step: ForEach, here: Here, to: Lines) -> None:
        self.words.add("each")
        counts = any("index" in one.names for one in _uses_in(step.steps or [step._action]))  # type: ignore[list-item]
        item = self.names.new(step.as_)
        index = self.names.new("index") if counts else ""
        names = {**here.names, step.as_: Python(item)}
        names |= {"index": Python(index, "number")} if index else {}
        inside = replace(here, names=names)
        listed = step.for_each
        items = (
            self.python(here).expression(listed).code if isinstance(listed, str) else self.python(here).value(listed)
        )
        if index:
            items = Group("enumerate(", [("", items)], ")")
        targets = f"{index}, {item}" if index else item
        if step.concurrency == 1 and not step.tolerate and step.on_error == "fail":
            self._in_order(step, inside, to, items, targets)
        else:
            self._in_function(step, inside, to, items, targets, item)

    def _in_order(self, step: ForEach, here: Here, to: Lines, items: Code, targets: str) -> None:
        collected = self.wants(step, "output") and step.collect
        gathered = self.names.new(f"{step.id}_outputs") if collected else ""
        if collected:
            to.add(f"{gathered}: list[Any] = []")
        to.add(Group("each(", [("", items), ("id=", quoted(step.id))], ")"), f"async for {targets} in ", ":")
        inner = to.deeper()
        if step._action:
            call = self._call(step._action, here, inner, named=False)
            if collected:
                inner.add(Group(f"{gathered}.append(", [("", replace(call, open=f"await {call.open}"))], ")"))
            else:
                inner.add(replace(call, open=f"await {call.open}"))
        else:
            self.function(step.steps, here, inner)
            if collected:
                inner.add(f"{gathered}.append({self.name(step.steps[-1].id, 'output')})")
        if self.wants(step, "output"):
            to.add(f"{self.name(step.id, 'output')} = {gathered or 'None'}")

    def _in_function(self, step: ForEach, here: Here, to: Lines, items: Code, targets: str, item: str) -> None:
        here = replace(here, no_stop="a loop whose rounds are a function's")
        name, given = self.names.new(f"one_of_{step.id}"), item
        to.blank()
        if targets != item:
            given = self.names.new("numbered")
        to.add(f"async def {name}({given}: Any) -> Any:")
        inner = to.deeper()
        if targets != item:
            inner.add(f"{targets} = {given}")
        if step._action:
            call = self._call(step._action, here, inner, named=False)
            inner.add(replace(call, open=f"await {call.open}"), "return ")
        else:
            self.function(step.steps, replace(here, tried=True), inner)
            if self.wants(step, "output"):
                inner.add(f"return {self.name(step.steps[-1].id, 'output')}")
        to.blank()
        options: list[tuple[str, Code]] = [("", items), ("", name)]
        options += [("concurrency=", repr(step.concurrency))] if step.concurrency > 1 else []
        options += [("tolerate=", literal(step.tolerate))] if step.tolerate else []
        options += [("on_error=", quoted("continue"))] if step.on_error == "continue" else []
        options += [("collect=", "False")] if not step.collect or not self.wants(step, "output") else []
        to.add(
            Group("await each(", [*options, ("id=", quoted(step.id))], ")"),
            self._assigned(step) if step.collect else "",
        )


def _as_typed(value: Any, annotation: Any) -> Any:
    """A literal as the parameter takes it: `30s` as 30.0."""
    config = ConfigDict(coerce_numbers_to_str=True, arbitrary_types_allowed=True)
    try:
        return TypeAdapter(annotation, config=config).validate_python(value)
    except (ValidationError, PydanticUserError):
        return value


def _steps_in(order: Order) -> Iterator[Step]:
    if isinstance(order, (InTurn, SideBySide)):
        for part in order.parts:
            yield from _steps_in(part)
    else:
        yield order


def _uses_in(steps: Sequence[Step], *, until: str | bool = True) -> Iterator[Uses]:
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
