"""Steps as statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flows.language.approve import Approve
from flows.language.call import Call
from flows.language.ends import Fail, Stop
from flows.language.for_each import ForEach
from flows.language.place import FAILURE_NAMES
from flows.language.repeat import Repeat
from flows.language.set_values import SetValues
from flows.language.signal import Signal
from flows.language.step import Step, every_step, seen_of
from flows.language.switch import Switch
from flows.language.try_catch import Try
from flows.language.uses import Uses as UsesAction
from flows.language.wait import Wait
from ipaas.eject import loops, waits
from ipaas.eject.ejected import Ejected, Here, Refused, uses_in
from ipaas.eject.expressions import Python
from ipaas.eject.layout import Code, Group, Lines, quoted
from ipaas.eject.order import InTurn, Order, SideBySide, Tangled, order_of


class Blocks(Ejected):
    """Writes the statements."""

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
                self.declared.add(step.id)
                to.add(f"{self.name(step.id, 'output')}: Any = None")
            if self.wants(step, "status"):
                to.add(f'{self.name(step.id, "status")} = "skipped"')
            if self.wants(step, "error"):
                to.add(f"{self.name(step.id, 'error')}: Any = None")
            if isinstance(step, Wait) and step.id in self.uses.callbacks:
                to.add(waits.callback(self, step), f"{self.name(step.id, 'callback')} = ")

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
                calls.append(self.call(part, here, to))
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
            ForEach: lambda step, here, to: loops.for_each(self, step, here, to),
            Repeat: lambda step, here, to: loops.repeat(self, step, here, to),
            Switch: self._switch,
            Try: self._try,
            Wait: lambda step, here, to: waits.wait(self, step, here, to),
            Approve: lambda step, here, to: waits.approve(self, step, here, to),
            Signal: lambda step, here, to: waits.signal(self, step, here, to),
            Call: lambda step, here, to: waits.call(self, step, here, to),
            Stop: self._stop,
            Fail: self._fail,
        }
        if type(step) not in kinds:
            raise Refused(step, f"{step.kind} has no equivalent in Python that is known here")
        kinds[type(step)](step, here, to)

    def _uses(self, step: UsesAction, here: Here, to: Lines) -> None:
        call = self.call(step, here, to)
        to.add(replace(call, open=f"await {call.open}"), self.assigned(step))

    def _set(self, step: SetValues, here: Here, to: Lines) -> None:
        name = self.name(step.id, "output")
        typed = name if step.id in self.declared else f"{name}: dict[str, Any]"
        to.add(self.python(here).value(step.set_), f"{typed} = ")

    def _stop(self, step: Stop, here: Here, to: Lines) -> None:
        if here.no_stop:
            raise Refused(step, f"stop within {here.no_stop} has no equivalent: a return would end only that")
        to.add(self.python(here).value(step.stop.output), "return ")

    def _fail(self, step: Fail, here: Here, to: Lines) -> None:
        code = [("code=", quoted(step.code))] if step.code != "failed" else []
        to.add(self.failure(step, self.python(here).value(step.fail), code), "raise ")

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
            if any("error" in one.names for one in uses_in(step.catch)):
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


def _steps_in(order: Order) -> Iterator[Step]:
    if isinstance(order, (InTurn, SideBySide)):
        for part in order.parts:
            yield from _steps_in(part)
    else:
        yield order
