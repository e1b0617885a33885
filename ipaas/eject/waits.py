"""Waits for something outside as statements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flows.language.approve import Approve
from flows.language.call import Call
from flows.language.signal import Signal
from flows.language.step import Step, every_step
from flows.language.wait import Wait, WaitFor
from ipaas.eject.ejected import Here, Refused, note
from ipaas.eject.expressions import Uses
from ipaas.eject.layout import Code, Group, Lines, duration, literal, one_line, quoted

if TYPE_CHECKING:
    from ipaas.eject.blocks import Blocks


def wait(blocks: Blocks, step: Wait, here: Here, to: Lines) -> None:
    python, named = blocks.python(here), ("id=", quoted(step.id))
    if isinstance(step.wait, WaitFor) and step.wait.callback:
        called: Code = blocks.name(step.id, "callback") if step.id in blocks.uses.callbacks else callback(blocks, step)
        _awaited(blocks, step, called, to)
    elif isinstance(step.wait, WaitFor) and step.wait.signal is not None:
        blocks.words.add("signal")
        name = python.text(step.wait.signal).whole
        _awaited(blocks, step, Group("signal(", [("", name), *_late(step.wait), named], ")"), to)
    else:
        blocks.words.add("sleep")
        until = step.wait.until if isinstance(step.wait, WaitFor) else None
        how = ("", duration(step.wait)) if isinstance(step.wait, float) else ("until=", python.value(until))
        to.add(Group("await sleep(", [how, named], ")"))
        if blocks.wants(step, "output"):
            to.add(f"{blocks.name(step.id, 'output')} = None")


def callback(blocks: Blocks, step: Wait) -> Group:
    blocks.words.add("callback")
    late = _late(step.wait) if isinstance(step.wait, WaitFor) else []
    return Group("callback(", [*late, ("id=", quoted(step.id))], ")")


def approve(blocks: Blocks, step: Approve, here: Here, to: Lines) -> None:
    within = {one.id for one in every_step(step.approve.notify)}
    for one in blocks.workflow.every_step():
        found = Uses()
        note(one, found)
        if step.id in found.callbacks and one.id not in within:
            raise Refused(
                step, f"callbacks.{step.id} in step {one.id} has no equivalent: it has one in its notify only"
            )
    said, late = step.approve, list[tuple[str, Code]]()
    if said.form is not None:
        late.append(("form=", literal(said.form)))
    if said.timeout is not None:
        late.append(("timeout=", duration(said.timeout)))
    late += [("on_timeout=", quoted("reject"))] if said.on_timeout == "reject" else []
    late += [("on_reject=", quoted("continue"))] if said.on_reject == "continue" else []
    blocks.words.add("approval")
    message = blocks.python(here).text(said.message).whole
    asked = Group("approval(", [("", message), *late, ("id=", quoted(step.id))], ")")
    if not said.notify:
        _awaited(blocks, step, asked, to)
        return
    name = blocks.name(step.id, "callback")
    to.add(asked, f"{name} = ")
    blocks.block(said.notify, here, to)
    _awaited(blocks, step, name, to)


def signal(blocks: Blocks, step: Signal, here: Here, to: Lines) -> None:
    blocks.words.add("send_signal")
    python = blocks.python(here)
    body = [("", python.value(step.body))] if step.body is not None else []
    sent = Group("await send_signal(", [("", python.text(step.signal).whole), *body, ("id=", quoted(step.id))], ")")
    if blocks.wants(step, "output"):
        to.add(Group("{", [(f"{quoted('delivered')}: ", sent)], "}"), blocks.assigned(step))
    else:
        to.add(sent)


def call(blocks: Blocks, step: Call, here: Here, to: Lines) -> None:
    blocks.words.add("call")
    body = ("", blocks.python(here).value(step.with_))
    goes_on = [] if step.wait else [("wait=", "False")]
    _awaited(blocks, step, Group("call(", [("", quoted(step.call)), body, *goes_on, ("id=", quoted(step.id))], ")"), to)


def _late(wait: WaitFor) -> list[tuple[str, Code]]:
    late: list[tuple[str, Code]] = [("timeout=", duration(wait.timeout))] if wait.timeout is not None else []
    return late + ([("on_timeout=", quoted("continue"))] if wait.on_timeout == "continue" else [])


def _awaited(blocks: Blocks, step: Step, called: Code, to: Lines) -> None:
    if isinstance(called, Group):
        to.add(replace(called, open=f"await {called.open}"), blocks.assigned(step))
    else:
        to.add(f"await {one_line(called)}", blocks.assigned(step))
