"""A workbench: runs workflows in memory, and says what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import respx

from blocks import Credential
from blocks.source import MemoryCredentials
from connectors.kit.call import Services
from connectors.kit.http_client import new_client
from flows.engine.inline import run_inline
from flows.engine.program import Program
from flows.engine.runtime import Runtime
from flows.expressions import render_template
from flows.history import MemoryStore, Trigger, WorkflowVersion
from flows.language.definition import Webhook
from flows.language.event import Event
from flows.language.input_schema import InputSchema
from flows.on_prefect.compile import compile_version
from flows.testing.programs import Given, Programs
from flows.testing.replying import RepliedOutside, Replies
from flows.testing.requests import NotStubbed, StubbedTransport, Unanswered
from flows.testing.result import Result, refused, result_of
from flows.testing.stubs import Stubs, performing, unknown_steps
from flows.testing.virtual_time import VirtualClock, VirtualTime
from foundation.errors import IpaasError, NotFound
from foundation.masking import Masker


class Bench:
    """What a test runs workflows on. All that it runs share its clock and its history.

    Attributes:
        http: answers the requests: a respx router, `http.post("https://…").respond(json={…})`.
        credentials: by name, each the fields of its type.
        clock: `clock.move(days=3)`, `clock.set(moment)`, `clock.now()`. Waiting moves it, and takes no time.
        history: every execution, as the platform would have it.
    """

    def __init__(self, time: VirtualTime, programs: Programs) -> None:
        self._time, self._programs = time, programs
        self.http = respx.Router(assert_all_called=False)
        self.credentials: dict[str, Credential | Mapping[str, Any]] = {}
        self.clock = VirtualClock(time)
        self.history = MemoryStore(self.clock)

    def run(
        self,
        workflow: Given,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | list[str]] | None = None,
        stubs: Stubs | None = None,
        replies: Replies | None = None,
    ) -> Result:
        """Runs the workflow for one event, to its end; one that waits for what nobody replies ends `waiting`.

        Args:
            workflow: a file, a YAML text, a `Workflow`, a Python workflow, or the name of one of the project's.
            body, headers, query: the event's, as the gateway has let it in: signatures are not looked at here.
            stubs: by step path, what it gives instead of doing anything: `{"output": …}` or `{"error": {…}}`.
            replies: by step path, what comes to one that waits: the body of its signal or callback, or a decision:
                `{"approved": True, "form": {…}, "by": "Ann"}`.

        Raises:
            NotStubbed: a request was sent that `http` has no answer for.
            DefinitionError: the workflow is wrong, as `ipaas check` says.
            NotFound: there is no such workflow, or no such step.
        """
        __tracebackhide__ = True  # pytest shows the test's own line, and no frames of ours and asyncio's
        try:
            program = self._programs.find(workflow)
            for _, said in unknown_steps(program, [*(stubs or ()), *(replies or ())]):
                raise NotFound(said)
            return self.run_program(
                program, body, headers=headers or {}, query=query or {}, stubs=stubs or {}, replies=replies or {}
            )
        except (NotStubbed, IpaasError) as error:
            raise error.with_traceback(None) from None

    def run_program(
        self,
        program: Program,
        body: Any,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str | list[str]],
        stubs: Stubs,
        replies: Replies,
    ) -> Result:
        """Runs a compiled workflow, as `run` does."""
        hook = next((one for one in program.declaration.triggers if isinstance(one, Webhook)), None)
        event = Event(
            body=body,
            headers={name.lower(): value for name, value in headers.items()},
            query=dict(query),
            method=hook and hook.methods[0],
            path=hook and f"/hooks/{hook.path}",
            received_at=self.clock.now(),
        )
        if faults := _unfit(program, body):
            return refused(program, faults)
        trigger = Trigger.WEBHOOK if hook else Trigger.MANUAL
        return self._time.run(self._run(program, event, trigger, stubs, replies))

    async def _run(self, program: Program, event: Event, trigger: Trigger, stubs: Stubs, replies: Replies) -> Result:
        transport, masker = StubbedTransport(self.http), Masker()
        async with new_client(transport) as http:
            services = Services(
                http=http,
                credentials=MemoryCredentials(self.credentials, masker=masker),
                clock=self.clock,
                masker=masker,
                render=render_template,
            )
            runtime = Runtime(store=self.history, services=services, clock=self.clock)
            runtime.outside = partial(RepliedOutside, replies=replies, find=self._programs.find)
            try:
                execution = await run_inline(
                    runtime, program, event, program_of=_program_of, perform=performing(stubs), trigger=trigger
                )
                if transport.unanswered:
                    raise transport.unanswered
            except (Unanswered, BaseExceptionGroup) as error:
                stubbed = [route.name or str(route.pattern) for route in self.http.routes]
                raise NotStubbed(str(_unanswered(error)), stubbed) from None
        return result_of(execution, program, transport.sent)


def _program_of(version: WorkflowVersion) -> Program:
    return compile_version(version).program


def _unfit(program: Program, body: Any) -> list[dict[str, str]]:
    """What the sender is told of a body that does not fit the workflow's `input`."""
    schema = program.declaration.input
    return [] if schema is None else InputSchema(schema).errors(body)


def _unanswered(error: BaseException) -> Unanswered:
    """The request that ended the execution, however many tasks it was in. Raises the error if it is something else."""
    inside: BaseException | None = error
    while isinstance(inside, BaseExceptionGroup):
        matching = inside.subgroup(Unanswered)
        inside = matching and matching.exceptions[0]
    if isinstance(inside, Unanswered):
        return inside
    raise error
