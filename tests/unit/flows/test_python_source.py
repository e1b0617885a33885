"""Workflows as Python code: what `@workflow` makes of a function, and files with workflows in them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow

from flows import Event, failure, poll, schedule, webhook, workflow
from flows.engine.program import Run
from flows.language.definition import Failure, Poll, Schedule, Webhook
from flows.on_prefect.compile import compile_version
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.python_source import load_python_file
from foundation.errors import DefinitionError

HEAD = "from flows import Event, webhook, workflow\n"
ORDERS = """
@workflow(triggers=[webhook(auth="none")])
async def new_orders(event: Event) -> int:
    return 1
"""


def written(folder: Path, text: str, name: str = "flows_of_mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def loaded(folder: Path, text: str) -> WorkflowFlow:
    [flow] = load_python_file(written(folder, text))
    return flow


# The decorator


def test_a_function_becomes_a_flow_that_says_what_its_arguments_say() -> None:
    @workflow(
        triggers=[webhook(auth="none", path="in", methods=["PUT"]), schedule(every="10m")],
        tags=["sales"],
        concurrency={"limit": 3, "overflow": "cancel"},
        timeout="30s",
        input={"type": "object"},
        respond={"when": "finished"},
    )
    async def order_confirmed(event: Event) -> None:
        """Tell the team."""

    said = order_confirmed.declaration
    assert isinstance(order_confirmed, Flow)
    assert (said.name, said.description, said.tags, said.timeout) == (
        "order-confirmed",
        "Tell the team.",
        ("sales",),
        30,
    )
    assert (said.limit, said.concurrency[0].overflow, said.respond.when) == (3, "cancel", "finished")
    hook, ticks = said.triggers
    assert isinstance(hook, Webhook)
    assert isinstance(ticks, Schedule)
    assert (hook.path, hook.methods, ticks.every) == ("in", ("PUT",), 600)
    assert (order_confirmed.name, order_confirmed.timeout_seconds) == ("order-confirmed", 30)


def test_other_options_of_the_flow_leave_it_a_workflow() -> None:
    @workflow()
    async def mine(event: Event) -> None: ...

    changed = mine.with_options(description="other")

    assert (changed.declaration, changed.published, changed.program) == (mine.declaration, mine.published, mine.program)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"timeout": "soon"}, "timeout"),
        ({"name": "Not A Slug"}, "name"),
        ({"concurrency": 0}, "concurrency"),
        ({"triggers": [schedule()]}, "schedule"),
        ({"triggers": [webhook(auth={"schema": "hmac"})]}, "schem"),
    ],
)
def test_a_wrong_argument_is_named_with_file_and_line(arguments: dict[str, Any], wrong: str) -> None:
    with pytest.raises(DefinitionError, match=wrong) as error:

        @workflow(**arguments)
        async def mine(event: Event) -> None: ...

    assert str(error.value).startswith(f"{Path(__file__).resolve()}:")


def test_a_function_that_is_not_async_is_refused() -> None:
    with pytest.raises(DefinitionError, match="async def"):

        @workflow()  # type: ignore[arg-type]  # it calls no action
        def mine(event: Event) -> None: ...


# Files


def test_a_file_has_the_workflows_it_defines_and_its_text_is_their_version(tmp_path: Path) -> None:
    flow = loaded(tmp_path, HEAD + ORDERS)

    published = flow.published
    assert (published.workflow, published.language, published.source) == ("new-orders", "python", HEAD + ORDERS)
    assert published.file == str(tmp_path / "flows_of_mine.py")
    assert loaded(tmp_path, HEAD + ORDERS).published.version == published.version
    assert loaded(tmp_path, HEAD + ORDERS.replace("return 1", "return 2")).published.version != published.version


def test_some_other_python_file_has_none(tmp_path: Path) -> None:
    assert load_python_file(written(tmp_path, "x = 1")) == []


def test_a_workflow_that_is_imported_belongs_to_its_own_file(tmp_path: Path) -> None:
    written(tmp_path, HEAD + ORDERS, "imported_orders.py")

    flow = loaded(tmp_path, HEAD + "from imported_orders import new_orders\n" + ORDERS.replace("new_orders", "mine"))

    assert flow.declaration.name == "mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nx +\n", ":2:4: SyntaxError: invalid syntax"),
        ("x = 1\n\nraise ValueError('no')\n", ":3: ValueError: no"),
        ("import no_such_module_anywhere\n", ":1: ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(3)\n", ":2: SystemExit: 3"),
        ("def f():\n    return 1 / 0\n\nf()\n", ":2: ZeroDivisionError"),
    ],
)
def test_a_file_that_can_not_be_run_says_where_and_why(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DefinitionError) as error:
        load_python_file(written(tmp_path, text))

    assert str(error.value).startswith(f"{tmp_path / 'flows_of_mine.py'}{says}")


def test_a_published_version_runs_as_it_was_published_whatever_the_file_says_now(tmp_path: Path) -> None:
    published = loaded(tmp_path, HEAD + ORDERS).published
    written(tmp_path, "raise ValueError('half-way edited')")

    flow = compile_version(published)

    assert flow.published.version == published.version
    assert asyncio.run(flow.program.body(Run(Event(), {}, None))) == 1  # type: ignore[arg-type]  # it calls no action


def test_a_published_version_sees_the_modules_beside_its_file(tmp_path: Path) -> None:
    written(tmp_path, "ANSWER = 42", "beside_the_flow.py")
    text = HEAD + "from beside_the_flow import ANSWER\n" + ORDERS.replace("return 1", "return ANSWER")
    flow = compile_version(loaded(tmp_path, text).published)

    assert asyncio.run(flow.program.body(Run(Event(), {}, None))) == 42  # type: ignore[arg-type]  # it calls no action


def test_a_version_that_lacks_its_workflow_says_so(tmp_path: Path) -> None:
    published = replace(loaded(tmp_path, HEAD + ORDERS).published, workflow="other")

    with pytest.raises(DefinitionError, match="defines no workflow 'other'"):
        compile_version(published)


def test_triggers_in_python_are_those_of_yaml() -> None:
    asked = poll(uses="http.request", every="1m", with_={"url": "https://x"}, from_="start", cursor="output.body")

    @workflow(triggers=[webhook(auth="none", when="event.body.a"), failure(of=["orders-*"]), asked])
    async def watching(event: Event) -> None: ...

    hook, failed, polled = watching.declaration.triggers
    assert isinstance(hook, Webhook)
    assert isinstance(failed, Failure)
    assert isinstance(polled, Poll)
    assert (hook.when, failed.of) == ("event.body.a", ("orders-*",))
    assert (polled.every, polled.with_, polled.from_) == (60, {"url": "https://x"}, "start")
    assert (polled.items, polled.key, polled.cursor) == ("output", "item.id", "output.body")
