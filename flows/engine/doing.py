"""One step while it runs: what it does things with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from connectors.kit.attempts import run_attempts
from connectors.kit.call import Call
from connectors.kit.retry import RetryPolicy
from flows.engine.invoke import EngineAction, Invocation, Logger
from flows.engine.parking import Parked
from flows.engine.walk import run_one, walk
from flows.history import NewWait, WaitKind, signal_address, step_address
from flows.language.outcomes import StepFailed, Stopped
from flows.language.step import LONGEST_SLEEP, ActionStep, Answer, Ended, Progress, Scope, Step, seen_of
from foundation.errors import IpaasError

if TYPE_CHECKING:
    from flows.engine.step import Steps


@dataclass
class Doing:
    """
    Attributes:
        after: the paths of the steps that it waited for.
        prefix: of the paths in its blocks that are no loop's rounds.
    """

    steps: Steps
    path: str
    after: Sequence[str]
    scope: Scope
    prefix: str
    started_at: datetime
    attempts: int = field(default=0, init=False)

    @property
    def elapsed(self) -> float:
        return max((self.steps.clock.now() - self.started_at).total_seconds(), 0.0)

    async def sleep(self, seconds: float) -> None:
        with self.steps.parking.busy():
            await self.steps.clock.sleep(seconds)

    async def wait(
        self,
        kind: str,
        *,
        seconds: float | None = None,
        until: datetime | None = None,
        signal: str | None = None,
        document: Any = None,
        number: int | None = None,
    ) -> Answer | None:
        path = self.path if number is None else f"{self.path}[{number}]"
        since = self.started_at if number is None else self.steps.clock.now()
        due_at = since + timedelta(seconds=seconds) if seconds is not None else until
        known = self.steps.waits.get(path)
        if known and known.ended_at:
            return Answer(self.mask(known.answer), known.answered_by, known.ended_at) if known.answered else None
        due_at = known.due_at if known else due_at
        if kind == "time" and due_at is not None:
            left = (due_at - self.steps.clock.now()).total_seconds()
            if left <= LONGEST_SLEEP:
                if left > 0:
                    await self.sleep(left)
                return None
        address = None
        if signal is not None:
            address = signal_address(signal)
        elif kind != "time":
            address = step_address(self.steps.execution_id, self.path)
        wait = NewWait(path, WaitKind(kind), address, due_at, self.mask(document))
        return await self.steps.outside.wait(wait, self.steps.parking)

    async def signal(self, name: str, body: Any) -> bool:
        with self.steps.parking.busy():
            return await self.steps.outside.signal(name, self.mask(body))

    async def start(self, workflow: str, body: Any, *, answers: bool) -> str:
        with self.steps.parking.busy():
            return await self.steps.outside.start(workflow, self.mask(body), self.path, answers=answers)

    async def ended(self, execution_id: str) -> Ended:
        with self.steps.parking.busy():
            return await self.steps.outside.ended(execution_id)

    def mask(self, value: Any) -> Any:
        return self.steps.services.masker.mask_json(value)

    async def as_one(self, work: Callable[[Doing], Awaitable[None]], progress: Callable[[], Progress]) -> None:
        if not self.steps.alone:
            await work(self)
            return
        inside, stops = replace(self, steps=replace(self.steps, alone=False)), list[Stopped | Parked]()

        async def attempts(logger: Logger) -> None:
            try:
                await work(inside)
            except (Stopped, Parked) as stop:  # which is no failure of the task
                stops.append(stop)

        await self.steps.invoke(Invocation(None, self.path, {}, self.after, progress=progress), attempts)
        for stop in stops:
            raise stop

    def has_begun(self, steps: Sequence[Step], number: int) -> bool:
        prefix = self._in_round(number)
        return any(f"{prefix}{step.id}" in self.steps.journal.steps for step in steps)

    async def block(self, steps: Sequence[Step], scope: Scope, number: int | None = None) -> Any:
        prefix = self.prefix if number is None else self._in_round(number)
        if number is not None:
            scope = self.steps.with_callbacks(scope, steps, prefix)
        try:
            return await walk(steps, scope, self.steps, prefix, self.after)
        except (StepFailed, Stopped):
            await self.steps.cancel_inside({f"{prefix}{one}" for one in seen_of(steps)})
            raise
        finally:
            if number is not None:
                self.steps.journal.forget([f"{prefix}{one}" for one in seen_of(steps)])

    async def one(self, step: Step, scope: Scope, number: int) -> Any:
        path = f"{self.path}[{number}]"
        try:
            return await run_one(step, path, scope, self.steps, self.after)
        finally:
            self.steps.journal.forget([path])

    def _in_round(self, number: int) -> str:
        return f"{self.path}[{number}]."

    async def act(self, step: ActionStep, arguments: Mapping[str, Any]) -> Any:
        action = self.steps.actions[step.uses]
        policy = RetryPolicy(**step.retry.model_dump()) if step.retry else None
        return await self.call(
            action,
            arguments,
            lambda: action.fn(**arguments),
            wrote_host=step.wrote_host,
            policy=policy,
            timeout=step.timeout,
        )

    async def call(
        self,
        action: EngineAction,
        arguments: Mapping[str, Any],
        body: Callable[[], Awaitable[Any]],
        *,
        wrote_host: Callable[[str], bool],
        policy: RetryPolicy | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs `body`, one call of an action, as often as the policy says; its masked result.

        Args:
            wrote_host: see `connectors.kit.call.Call`.

        Raises:
            IpaasError
        """

        async def attempts(logger: Logger) -> Any:
            call = Call(
                services=self.steps.services,
                execution_id=self.steps.execution_id,
                path=self.path,
                logger=logger,
                retry_declared=policy is not None,
                wrote_host=wrote_host,
            )
            try:
                result, self.attempts = await run_attempts(
                    action.action_name, body, call=call, policy=policy, timeout=timeout
                )
            except IpaasError as error:
                self.attempts = error.attempts
                raise
            return result

        invocation = Invocation(action, self.path, arguments, self.after, self.steps.alone)
        with self.steps.parking.busy():
            return await self.steps.invoke(invocation, attempts)
