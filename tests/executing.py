"""Executions in this process, for tests: a history in memory, a remote system that is a function, no Prefect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from connectors.kit.testing import acting
from flows.engine.execution import run_execution
from flows.engine.runtime import Runtime
from flows.expressions import render_template
from flows.history import Execution, MemoryStore
from flows.language.event import Event
from flows.language.yaml_source import load_workflow
from flows.on_prefect.compile import compile_version
from flows.on_prefect.flow import WorkflowFlow, version_of
from flows.on_prefect.process import use_runtime
from flows.on_prefect.run import run_program
from foundation.clock import ManualClock

URL = "https://remote.test"


@dataclass
class Remote:
    """Answers `{"got": BODY}`; what is in `statuses` with that status; what is in `held` once it is let go.

    The request numbered `unanswered`, from 0, never gets an answer.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    unanswered: int | None = None
    requests: list[httpx.Request] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        number = len(self.requests) - 1
        async with self.arrived:
            self.arrived.notify_all()
            await self.arrived.wait_for(lambda: request.url.path not in self.held and number != self.unanswered)
        body = json.loads(request.content) if request.content else None
        return httpx.Response(self.statuses.get(request.url.path, 200), json={"got": body})

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]

    async def reached(self, *paths: str) -> None:
        """Returns once these were asked for."""
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: set(paths) <= set(self.paths))

    async def let_go(self, *paths: str) -> None:
        async with self.arrived:
            self.held -= set(paths)
            self.arrived.notify_all()


@dataclass
class Bench:
    runtime: Runtime
    remote: Remote
    clock: ManualClock

    @property
    def store(self) -> MemoryStore:
        assert isinstance(self.runtime.store, MemoryStore)
        return self.runtime.store

    def start(self, flow: WorkflowFlow, body: Any = None) -> asyncio.Task[Any]:
        """Begins an execution for an event with this body; the task has what it returns or raises."""
        return asyncio.create_task(run_program(flow.program, Event(body=body)))

    async def run(self, flow: WorkflowFlow, body: Any = None) -> Execution:
        """Runs an execution to its end, however it ends."""
        await asyncio.gather(self.start(flow, body), return_exceptions=True)
        return await self.last()

    async def last(self) -> Execution:
        newest = (await self.store.executions(limit=1)).items[0]
        execution = await self.store.execution(newest.id)
        assert execution is not None
        return execution

    async def go_on(self, flow: WorkflowFlow, execution_id: str) -> Any:
        """Runs an execution once more, as after a crash: what had finished is known. What it returns or raises."""
        outcome = await run_execution(self.runtime, execution_id, flow.program)
        if outcome.failure:
            raise outcome.failure
        return outcome.output


@asynccontextmanager
async def bench(
    credentials: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    store: MemoryStore | None = None,
    **remote: Any,
) -> AsyncIterator[Bench]:
    sink = Remote(**remote)
    async with acting(sink, credentials, render=render_template) as stage:  # type: ignore[arg-type]  # httpx awaits it
        runtime = Runtime(store=store or MemoryStore(stage.clock), services=stage.services, clock=stage.clock)
        with use_runtime(runtime):
            yield Bench(runtime, sink, stage.clock)


def in_yaml(steps: str, *, name: str = "test") -> WorkflowFlow:
    """The workflow of a YAML text, which may lack its name."""
    text = steps if steps.lstrip().startswith("name:") else f"name: {name}\n{steps}"
    return compile_version(version_of(load_workflow(text), text, language="yaml", file=f"{name}.yaml"))


def step(step_id: str, **keys: Any) -> str:
    """A step as YAML, of any kind. Where Python takes the word for its own: `if_`, `with_`, `try_`."""
    return json.dumps({"id": step_id, **{key.rstrip("_"): value for key, value in keys.items()}})


def post(path: str, body: Any = None, **more: Any) -> str:
    """A step as YAML, which posts to the remote system; its id is the path's."""
    arguments = {"method": "POST", "url": URL + path, "json": body}
    return step(path.strip("/"), uses="http.request", with_=arguments, **more)


def block(*each: str) -> list[Any]:
    """These steps, to stand inside another."""
    return [json.loads(one) for one in each]


def steps(*each: str, **more: str) -> str:
    """These steps as YAML, with further keys of the workflow."""
    return "\n".join(["steps:", *(f"  - {step}" for step in each), *(f"{key}: {value}" for key, value in more.items())])
