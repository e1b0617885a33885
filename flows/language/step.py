"""What every kind of step has. A kind is a subclass: how it is written, checked, compiled and run stands in one class.

A step is compiled once per version, in place, and run any number of times; nothing of one run is kept in it.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol

from pydantic import AfterValidator, Field, PrivateAttr, WithJsonSchema, field_validator

from flows.expressions import Expression
from flows.expressions.shapes import ANYTHING, Shape
from flows.language.definition import LONGEST_NAME, Json, Model, Path
from flows.language.graph import Node, groups_of
from flows.language.place import Place

STEP_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def _step_id(value: str) -> str:
    if not STEP_ID.fullmatch(value) or len(value) > LONGEST_NAME:
        raise ValueError(
            f"{value!r} is not a step id: a letter, then letters, digits, dashes and underscores, "
            f"at most {LONGEST_NAME}"
        )
    return value


StepId = Annotated[
    str,
    AfterValidator(_step_id),
    WithJsonSchema({"type": "string", "pattern": f"^{STEP_ID.pattern}$", "maxLength": LONGEST_NAME}),
]
Scope = Mapping[str, Any]
"""What expressions see, by name."""


LONGEST_SLEEP: Final = 30.0
"""Seconds of waiting for which an execution stays where it runs; a longer wait holds nothing."""


@dataclass(frozen=True)
class Progress:
    """How far a long loop has come."""

    done: int
    """Items that have ended, failed ones included."""
    of: int
    failed: int = 0

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.of}{failed}"


@dataclass(frozen=True)
class Answer:
    """What came to a step that waited for it: a signal, a callback, a decision, a called workflow's end."""

    body: Json
    by: str | None
    at: datetime


class Ended(Protocol):
    """An execution that has ended."""

    @property
    def status(self) -> str: ...
    @property
    def output(self) -> Json: ...
    @property
    def error(self) -> Json: ...


class Doing(Protocol):
    """What a step does things with while it runs: the engine's side of it."""

    @property
    def scope(self) -> Scope:
        """What the step's own expressions see."""
        ...

    @property
    def elapsed(self) -> float:
        """Seconds since the step began, in whichever run of its execution that was."""
        ...

    async def act(self, step: ActionStep, arguments: Mapping[str, Any]) -> Json:
        """Runs an action, with the step's retries and timeout; its result."""
        ...

    async def block(self, steps: Sequence[Step], scope: Scope, number: int | None = None) -> Json:
        """Runs a block inside the step; the output of its last step.

        Args:
            number: of a loop's round, whose steps are seen by each other only.

        Raises:
            StepFailed: a step of it failed, and is not one that may.
            Stopped: a step of it ended the execution.
        """
        ...

    async def one(self, step: Step, scope: Scope, number: int) -> Json:
        """Runs a step that is a loop's whole round; its output. Raises as `block`."""
        ...

    def has_begun(self, steps: Sequence[Step], number: int) -> bool:
        """Whether this round was begun in an earlier run of the execution."""
        ...

    async def as_one(self, work: Callable[[Doing], Awaitable[None]], progress: Callable[[], Progress]) -> None:
        """Does work with so many actions that it is one task, and they are none of their own."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def wait(
        self,
        kind: str,
        *,
        seconds: float | None = None,
        until: datetime | None = None,
        signal: str | None = None,
        document: Json = None,
        number: int | None = None,
    ) -> Answer | None:
        """Waits, holding nothing: no slot, no task, no memory. None when the time is over before an answer comes.

        Args:
            kind: `time`, `signal`, `callback`, `approval` or `call`.
            seconds: from when the step began, in whichever run of its execution that was; or `until`.
            signal: its name; else an answer is sent to the step itself.
            document: what people are shown of it.
            number: the round that it waits for, whose seconds count from now.
        """
        ...

    async def signal(self, name: str, body: Json) -> bool:
        """Sends a signal; whether somebody waited for it."""
        ...

    async def start(self, workflow: str, body: Json, *, answers: bool) -> str:
        """Starts an execution of another workflow; its id, the same whenever the step runs again.

        Args:
            answers: its end is this step's answer.

        Raises:
            NotFound, UnfitEvent: there is no such workflow; the body does not fit its `input`.
            Recursion: too many executions have called each other.
        """
        ...

    async def ended(self, execution_id: str) -> Ended:
        """How a called execution ended."""
        ...

    def mask(self, value: Json) -> Json:
        """The value without the secrets that are known."""
        ...


class ActionStep(Protocol):
    """A step that runs an action."""

    @property
    def uses(self) -> str: ...
    @property
    def retry(self) -> Any:
        """`Retry`, or None: the connector's own retries."""
        ...

    @property
    def timeout(self) -> float | None: ...
    def wrote_host(self, host: str) -> bool:
        """Whether this `host:port` stands literally in the step or in the workflow's `vars`."""
        ...


@dataclass(frozen=True)
class Inner:
    """A block inside a step.

    Attributes:
        at: where it is written in the step: `("cases", "DE")`.
        seen: whether its steps are seen after the step, too. Those of a loop's rounds are not.
        names: what its expressions see beyond what the step's own see.
        earlier: the step's blocks that have ended before it, whose steps it sees.
    """

    at: Path
    steps: Sequence[Step]
    seen: bool = True
    names: frozenset[str] = frozenset()
    earlier: Sequence[Sequence[Step]] = ()


class Step(Model):
    """
    Attributes:
        if_: a bare expression; the step is skipped when it is false.
        needs: the steps of its block that it waits for; None: the one before it.
    """

    kind: ClassVar[str]
    """The key that makes a step one of this kind."""
    decides: ClassVar[bool] = False
    """What `render` gives is a decision, a mapping: recorded when the step begins, and kept when it begins again."""
    has_blocks: ClassVar[bool] = False
    """What it does is done by steps that are recorded each for itself."""
    is_instant: ClassVar[bool] = False
    """It does nothing but end, so that it begins is not worth a record."""

    id: StepId
    if_: str | bool | None = Field(default=None, alias="if")
    on_error: Literal["fail", "continue"] = "fail"
    needs: tuple[str, ...] | None = None

    _condition: Expression | None = PrivateAttr(default=None)
    _after: tuple[str, ...] = PrivateAttr(default=())
    _inside: tuple[str, ...] = PrivateAttr(default=())

    @property
    def is_bound(self) -> bool:
        """What it decided is recorded before it does anything."""
        return self.decides

    @field_validator("if_", mode="before")
    @classmethod
    def _text_or_truth(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, (str, bool)):
            raise ValueError(f"expected an expression, got {value!r}")
        return value

    @property
    def after(self) -> tuple[str, ...]:
        """The ids of the steps of its block that must have ended (or been skipped) before, in the block's order."""
        return self._after

    @property
    def inside(self) -> tuple[str, ...]:
        """The ids of the steps in its blocks that are seen after it."""
        return self._inside

    @property
    def action(self) -> str:
        """What the history says that it ran: its kind, or an action's name."""
        return self.kind

    @property
    def actions(self) -> Collection[str]:
        """The names of the actions that it runs itself."""
        return ()

    @property
    def always_ends_block(self) -> bool:
        """Whether no step that waits for it can ever run."""
        return False

    @property
    def wants(self) -> str | None:
        """What can be sent to its own address, `callbacks.ID`: a `callback` or an `approval`, if anything."""
        return None

    def inner(self) -> Sequence[Inner]:
        """Its blocks, in the order in which they are written."""
        return ()

    def summary(self) -> str:
        """What it does, in a few words: what its author wrote under its kind's key."""
        said = self.model_dump(mode="json", by_alias=True).get(self.kind)
        if isinstance(said, Mapping):
            return ", ".join(map(str, said))
        return said if isinstance(said, str) else ""

    def as_node(self) -> Node:
        """It in a picture, with its blocks. It is compiled already."""
        groups, edges = groups_of(self.inner())
        condition = str(self.if_).lower() if isinstance(self.if_, bool) else self.if_
        return Node(self.id, self.kind, self.summary(), condition, self.on_error == "continue", groups, edges)

    def compile(self, place: Place) -> None:
        """Compiles its own expressions; what is wrong with them and what they refer to is told to `place`."""
        if self.if_ is not None:
            self._condition = place.at("if").condition(self.if_)

    def check(self, place: Place) -> None:
        """Tells `place` what can be known to fail: what does not fit what it is for, what never happens."""
        if self.if_ is not None:
            place.at("if").expression_shape(self.if_)

    def known_inside(self, place: Place) -> Mapping[str, Shape]:
        """What is known of the names that its blocks see beyond what it sees itself."""
        return {}

    def gives(self, place: Place) -> Shape:
        """What is known of its output, once its blocks were looked at."""
        return ANYTHING

    def wanted(self, scope: Scope) -> bool:
        """Whether it is to run: what its `if` says. Raises ExpressionError."""
        return self._condition is None or bool(self._condition.render(scope))

    def render(self, scope: Scope) -> Any:
        """What `run` needs of the scope. Raises ExpressionError."""
        return None

    @abstractmethod
    async def run(self, rendered: Any, doing: Doing) -> Json:
        """Does it; its output. Raises IpaasError, and Stopped when it ends the whole execution."""

    def as_data(self) -> dict[str, Json]:
        """What it says, defaults and its id left out, each block as its steps' data by their ids."""
        data: dict[str, Json] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"id"})
        for inner in self.inner():
            *around, last = inner.at
            within = data
            for key in around:
                within = within[str(key)]
            within[str(last)] = by_id(inner.steps)
        return data


class StepsById(dict[str, Json]):
    """A block as data. Unlike any other mapping's, its order means something."""


def by_id(steps: Sequence[Step]) -> StepsById:
    return StepsById({step.id: step.as_data() for step in steps})


def with_address(steps: Sequence[Step]) -> Iterator[tuple[str, str]]:
    """The ids of those that are seen after a block and have an address, and what can be sent there."""
    for step in steps:
        if step.wants:
            yield step.id, step.wants
        for inner in step.inner():
            if inner.seen:
                yield from with_address(inner.steps)


def every_step(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps and all that are inside them, however deep."""
    for step in steps:
        yield step
        for inner in step.inner():
            yield from every_step(inner.steps)


def placed_steps(steps: Sequence[Step], at: Path) -> Iterator[tuple[Path, Step]]:
    """The same, each with where it is written; `at` is where these are."""
    for index, step in enumerate(steps):
        yield (*at, index), step
        for inner in step.inner():
            yield from placed_steps(inner.steps, (*at, index, *inner.at))


def seen_of(steps: Sequence[Step]) -> Iterator[str]:
    """The ids that are seen after a block: its steps', and those in their blocks that are no loop's."""
    for step in steps:
        yield step.id
        for inner in step.inner():
            if inner.seen:
                yield from seen_of(inner.steps)


def ends_always(steps: Sequence[Step]) -> bool:
    """Whether a block of these never comes to its end."""
    return any(step.always_ends_block for step in steps)
