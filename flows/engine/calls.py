"""What an author's Python function does, as steps of its execution.

A step has the action's name as its path, numbered from the second call on, or the id that the call was given, so a run
that starts again after a crash finds the results of the steps that had finished. Calls made side by side
(`asyncio.gather`) come in any order: their paths are made of what they are called with. In a round of a loop the
loop's path and the round stand before it: `lines[3].http.request`.

A function that starts again has to do the same again. With each call is recorded the how-manieth it was and what it
was called with; a function that does something else is stopped, before wrong results are made of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from connectors.kit.call import Called, current_call, current_runner
from flows.engine.authors_code import author_line
from flows.engine.doing import Doing
from flows.engine.failures import NonDeterministic, NotRun, earlier_failure
from flows.engine.known_calls import call_of, digest, earlier_calls
from flows.engine.parking import Parked
from flows.engine.step import Steps
from flows.history import Status, StepExecution
from flows.language.step import STEP_ID, Scope
from foundation.errors import DefinitionError, IpaasError, StorageUnavailable

_TURNS: Final = 10
"""Of the event loop: what is known already takes fewer."""

Work = Callable[[Mapping[str, Any], Doing], Awaitable[Any]]
"""What a step does. It is given what was recorded when it began, and what a step does things with."""


@dataclass(frozen=True)
class Placed:
    """A step that is about to run.

    Attributes:
        after: the paths of the steps that it waited for.
        call: what is recorded of the call, by which it is known again.
    """

    path: str
    action: str
    after: Sequence[str]
    call: Mapping[str, Any]


class Loop(Protocol):
    """A loop that its author's code left before its end."""

    async def end(self, why: BaseException | None = None) -> None: ...


@dataclass
class Function:
    """What is known of an author's function while it runs.

    Attributes:
        file: where the author wrote it.
        scope: what expressions see there: `event`, `workflow`, `execution` and `now`.
        left: loops that were left early. Their end is recorded when what comes next is known.
        background: what runs beside the function, and no longer than it.
        earlier: the path of each call that was recorded in an earlier run, by where it was called and its number.
            None until it is asked for.
        fault: it did something else than before, or does not run here any more: nothing that it does after that counts.
    """

    file: str
    scope: Scope
    wrote_host: Callable[[str], bool]
    left: list[Loop] = field(default_factory=list)
    background: set[asyncio.Task[Any]] = field(default_factory=set)
    earlier: dict[tuple[str, int | str], str] | None = None
    fault: IpaasError | None = None

    def check_end(self) -> None:
        """Notes that it ended without a call that it had made in an earlier run."""
        left = [path for (prefix, _), path in (self.earlier or {}).items() if not prefix]
        if left and not self.fault:
            self.fault = NonDeterministic(f"{left[0]} was called before, and now it ended without that")

    async def end_left(self, why: BaseException | None = None) -> None:
        """
        Args:
            why: what the function as a whole ended with, out of these loops.
        """
        while self.left:
            await self.left.pop(0).end(why)


@asynccontextmanager
async def calling(steps: Steps, scope: Scope, file: str, wrote_host: Callable[[str], bool]) -> AsyncIterator[None]:
    """Within it, what this task and those that it begins call are steps.

    Raises:
        NonDeterministic: the function did something else than in an earlier run, whatever it made of that.
    """
    function = Function(file, scope, wrote_host)
    token = current_runner.set(Calls(steps, function))
    try:
        yield
        await function.end_left()
        function.check_end()
    except (Exception, Parked) as error:
        if function.fault:
            raise function.fault from None
        await function.end_left(error)
        raise
    finally:
        current_runner.reset(token)
        await _cancel(function.background)
    if function.fault:
        raise function.fault


def current_calls(what: str) -> Calls:
    """Where the running code's calls are recorded.

    Args:
        what: who asks, for the message.

    Raises:
        DefinitionError: it does not run in a workflow's function, or within a step of it.
    """
    runner = current_runner.get(None)
    if not isinstance(runner, Calls):
        raise DefinitionError(f"{what} works in a workflow's function only, and while its execution runs")
    if call := current_call.get(None):
        file, line = runner.function.file, author_line(runner.function.file)
        raise DefinitionError(
            f"{what} inside of the step {call.path}, which is one step as a whole", file=file, line=line
        )
    return runner


class Calls:
    """The `StepRunner` of an author's function, or of one round of a loop in it.

    Attributes:
        prefix: what stands before the names in the paths.
        after: the paths of the steps that the next one waits for.
        paths: of the steps that were begun here.
    """

    def __init__(self, steps: Steps, function: Function, prefix: str = "", after: Sequence[str] = ()) -> None:
        self.steps, self.function, self.prefix, self.after = steps, function, prefix, after
        self.paths: list[str] = []
        self._author = asyncio.current_task()  # whose calls come in one order
        self._named: Counter[str] = Counter()
        self._number = 0

    async def run(self, action: Called, arguments: dict[str, Any], body: Callable[[], Awaitable[Any]]) -> Any:
        options, called = action.step_options, action

        async def work(kept: Mapping[str, Any], doing: Doing) -> Any:
            return await doing.call(
                called,  # type: ignore[arg-type]  # every action has `fn`
                arguments,
                body,
                wrote_host=self.function.wrote_host,
                policy=options.retry,
                timeout=options.timeout,
            )

        placed = await self.place(action.action_name, action.action_name, arguments, id=options.id)
        return await self.perform(placed, work)

    async def place(
        self, action: str, name: str, arguments: Any, *, id: str | None = None, same: bool = True
    ) -> Placed:
        """Where the next step is.

        Args:
            name: what its path is made of, unless it has an id.
            arguments: what it is called with, by which calls side by side are told apart.
            same: whether it has to be called with the same when it begins again.

        Raises:
            DefinitionError: the id is none.
            NonDeterministic: in an earlier run of the execution something else was called here.
        """
        if self.steps.parking.is_parked:  # a `finally`, perhaps
            raise Parked
        if self.function.fault:
            raise self.function.fault
        if not (task := asyncio.current_task()) or not task.cancelling():
            await self.function.end_left()
        if id is not None and not STEP_ID.fullmatch(id):
            raise DefinitionError(f"{id!r} is not a step id: a letter, then letters, digits, dashes and underscores")
        in_order, said = asyncio.current_task() is self._author, digest(arguments)
        name = id or (name if in_order else f"{name}-{said[:8]}")
        self._named[name] += 1
        path = self.prefix + (name if self._named[name] == 1 else f"{name}-{self._named[name]}")
        after = self.after
        call: dict[str, Any] = {"in": self.steps.execution_id}
        if same:
            call["with"] = said[:16]
        if in_order:
            self._number += 1
            self.after, call["number"] = [path], self._number
        if fault := self._difference(path, action, call):
            line = author_line(self.function.file)
            where = f"{Path(self.function.file).name}:{line}: " if line else ""
            self.function.fault = NonDeterministic(where + fault)
            raise self.function.fault
        self.paths.append(path)
        return Placed(path, action, after, call)

    def _difference(self, path: str, action: str, call: Mapping[str, Any]) -> str | None:
        """What is not as it was in an earlier run of the execution, if anything is not."""
        if self.function.earlier is None:
            self.function.earlier = dict(earlier_calls(self.steps.journal.steps, self.steps.execution_id))
        number = call.get("number")
        before = self.function.earlier.pop((self.prefix, number or path), path)
        if before != path:
            where = f"in {self.prefix.removesuffix('.')} " if self.prefix else ""
            return f"call {number} {where}was {before} before, and is {path} now"
        recorded = self.steps.journal.steps.get(path)
        if recorded and recorded.action != action:
            return f"{path} was {recorded.action} before, and is {action} now"
        said = call_of(recorded, self.steps.execution_id).get("with") if recorded else None
        return f"{path} was called with other arguments before" if said and said != call.get("with") else None

    async def perform(self, placed: Placed, work: Work, *, keep: Mapping[str, Any] | None = None) -> Any:
        """Runs the step unless it had ended before; its output.

        Args:
            keep: recorded when it begins; `work` gets what was recorded first.

        Raises:
            IpaasError: it failed; `path` says where.
        """
        raised: list[IpaasError] = []

        async def noting(kept: Mapping[str, Any], doing: Doing) -> Any:
            try:
                return await work(kept, doing)
            except IpaasError as error:
                raised.append(error)
                raise

        ended = await self.ended(placed, noting, keep=keep)
        if ended.status is not Status.FAILED:
            return ended.output
        error = earlier_failure(ended.error)  # the author catches the same, whether it has just failed or did before
        if raised and type(raised[0]) is type(error):
            error = raised[0]
        error.path = ended.error.get("step") or ended.path
        raise error

    async def ended(self, placed: Placed, work: Work, *, keep: Mapping[str, Any] | None = None) -> StepExecution:
        """How the step ended, as `perform`."""
        step = _Step(placed.action, {**(keep or {}), "call": dict(placed.call)}, work)
        recorded = self.steps.journal.steps.get(placed.path)
        if recorded and recorded.status is Status.CANCELLED:
            with self.steps.parking.busy():
                for _ in range(_TURNS):  # in which the failure at its side, which is known, ends it again
                    await asyncio.sleep(0)
        try:
            return await self.steps.run(step, placed.path, self.function.scope, placed.after)
        except (NotRun, StorageUnavailable) as fault:  # which an author's `except` may catch
            self.function.fault = fault
            raise

    def inside(self, prefix: str, steps: Steps, after: Sequence[str]) -> Calls:
        """Where the calls of a loop's round are recorded, which the running task makes."""
        return Calls(steps, self.function, prefix, after)


@dataclass(frozen=True)
class _Step:
    action: str
    kept: Mapping[str, Any]
    work: Work
    decides: ClassVar[bool] = True
    is_instant: ClassVar[bool] = False

    @property
    def is_bound(self) -> bool:
        return len(self.kept) > 1  # than the call itself

    def wanted(self, scope: Scope) -> bool:
        return True

    def render(self, scope: Scope) -> Mapping[str, Any]:
        return self.kept

    async def run(self, rendered: Mapping[str, Any], doing: Doing) -> Any:
        return await self.work(rendered, doing)


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
