"""Loops as statements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flows.language.for_each import ForEach
from flows.language.repeat import Repeat
from ipaas.eject.ejected import Here, uses_in
from ipaas.eject.expressions import Python
from ipaas.eject.layout import Code, Group, Lines, duration, literal, quoted

if TYPE_CHECKING:
    from ipaas.eject.blocks import Blocks


def repeat(blocks: Blocks, step: Repeat, here: Here, to: Lines) -> None:
    rounds, every = step.repeat, step.repeat.every
    counts = every or any("index" in one.names for one in uses_in(step.steps, until=rounds.until))
    index = blocks.names.new("index") if counts else "_"
    blocks.words |= {"each"}
    to.add(f"async for {index} in each(range({rounds.limit}), id={quoted(step.id)}):")
    inner = to.deeper()
    if every:
        blocks.words.add("sleep")
        inner.add(f"if {index}:")
        inner.deeper().add(f"await sleep({duration(every)})")
    inside = replace(here, names={**here.names, "index": Python(index, "number")})
    blocks.function(step.steps, inside, inner)
    inner.add(blocks.python(inside).expression(rounds.until).whole, "if ", ":")
    if blocks.wants(step, "output"):
        inner.deeper().add(f"{blocks.name(step.id, 'output')} = {blocks.name(step.steps[-1].id, 'output')}")
    inner.deeper().add("break")
    to.add("else:")
    said = literal(f"its until did not hold in {rounds.limit} rounds: {rounds.until}")
    to.deeper().add(blocks.failure(step, said, [("code=", quoted("limit"))]), "raise ")


def for_each(blocks: Blocks, step: ForEach, here: Here, to: Lines) -> None:
    blocks.words.add("each")
    counts = any("index" in one.names for one in uses_in(step.steps or [step._action]))  # type: ignore[list-item]
    item = blocks.names.new(step.as_)
    index = blocks.names.new("index") if counts else ""
    names = {**here.names, step.as_: Python(item)}
    names |= {"index": Python(index, "number")} if index else {}
    inside = replace(here, names=names)
    listed = step.for_each
    items = (
        blocks.python(here).expression(listed).whole if isinstance(listed, str) else blocks.python(here).value(listed)
    )
    if index:
        items = Group("enumerate(", [("", items)], ")")
    targets = f"{index}, {item}" if index else item
    if step.concurrency == 1 and not step.tolerate and step.on_error == "fail":
        _in_order(blocks, step, inside, to, items, targets)
    else:
        _in_function(blocks, step, inside, to, items, targets, item)


def _in_order(blocks: Blocks, step: ForEach, here: Here, to: Lines, items: Code, targets: str) -> None:
    collected = blocks.wants(step, "output") and step.collect
    gathered = blocks.names.new(f"{step.id}_outputs") if collected else ""
    if collected:
        to.add(f"{gathered}: list[Any] = []")
    to.add(Group("each(", [("", items), ("id=", quoted(step.id))], ")"), f"async for {targets} in ", ":")
    inner = to.deeper()
    if step._action:
        call = blocks.call(step._action, here, inner, named=False)
        if collected:
            inner.add(Group(f"{gathered}.append(", [("", replace(call, open=f"await {call.open}"))], ")"))
        else:
            inner.add(replace(call, open=f"await {call.open}"))
    else:
        blocks.function(step.steps, here, inner)
        if collected:
            inner.add(f"{gathered}.append({blocks.name(step.steps[-1].id, 'output')})")
    if blocks.wants(step, "output"):
        to.add(f"{blocks.name(step.id, 'output')} = {gathered or 'None'}")


def _in_function(blocks: Blocks, step: ForEach, here: Here, to: Lines, items: Code, targets: str, item: str) -> None:
    here = replace(here, no_stop="a loop whose rounds are a function's")
    name, given = blocks.names.new(f"one_of_{step.id}"), item
    to.blank()
    if targets != item:
        given = blocks.names.new("numbered")
    to.add(f"async def {name}({given}: Any) -> Any:")
    inner = to.deeper()
    if targets != item:
        inner.add(f"{targets} = {given}")
    if step._action:
        call = blocks.call(step._action, here, inner, named=False)
        inner.add(replace(call, open=f"await {call.open}"), "return ")
    else:
        blocks.function(step.steps, replace(here, tried=True), inner)
        if blocks.wants(step, "output"):
            inner.add(f"return {blocks.name(step.steps[-1].id, 'output')}")
    to.blank()
    options: list[tuple[str, Code]] = [("", items), ("", name)]
    options += [("concurrency=", repr(step.concurrency))] if step.concurrency > 1 else []
    options += [("tolerate=", literal(step.tolerate))] if step.tolerate else []
    options += [("on_error=", quoted("continue"))] if step.on_error == "continue" else []
    options += [("collect=", "False")] if not step.collect or not blocks.wants(step, "output") else []
    to.add(
        Group("await each(", [*options, ("id=", quoted(step.id))], ")"),
        blocks.assigned(step) if step.collect else "",
    )
