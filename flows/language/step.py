"""What every kind of step has. A kind is a subclass: how it is written, checked, compiled and run stands in one class.

A step is compiled once per version, in place, and run any number of times; nothing of one run is kept in it.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import AfterValidator, Field, PrivateAttr, field_validator

from flows.expressions import Expression
from flows.language.definition import LONGEST_NAME, Json, Model
from flows.language.place import Place

STEP_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def _step_id(value: str) -> str:
    if not STEP_ID.fullmatch(value) or len(value) > LONGEST_NAME:
        raise ValueError(
            f"{value!r} is not a step id: a letter, then letters, digits, dashes and underscores, "
            f"at most {LONGEST_NAME}"
        )
    return value


StepId = Annotated[str, AfterValidator(_step_id)]
Scope = Mapping[str, Any]
"""What expressions see, by name."""


class Doing(Protocol):
    """What a step does things with while it runs: the engine's side of it."""

    async def act(self, step: ActionStep, arguments: Mapping[str, Any]) -> Json:
        """Runs an action, with the step's retries and timeout; its result."""
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


class Step(Model):
    """
    Attributes:
        if_: a bare expression; the step is skipped when it is false.
        needs: the steps of its block that it waits for; None: the one before it.
    """

    id: StepId
    if_: str | bool | None = Field(default=None, alias="if")
    on_error: Literal["fail", "continue"] = "fail"
    needs: tuple[str, ...] | None = None

    _condition: Expression | None = PrivateAttr(default=None)
    _after: tuple[str, ...] = PrivateAttr(default=())

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
    @abstractmethod
    def action(self) -> str:
        """What the history says that it ran: an action's name, or its kind's."""

    def compile(self, place: Place) -> None:
        """Compiles its expressions; what is wrong with them and what they refer to is told to `place`."""
        if self.if_ is not None:
            self._condition = place.at("if").condition(self.if_)

    @abstractmethod
    def check(self, place: Place) -> None:
        """Tells `place` what is wrong with it beyond its expressions."""

    def wanted(self, scope: Scope) -> bool:
        """Whether it is to run: what its `if` says. Raises ExpressionError."""
        return self._condition is None or bool(self._condition.render(scope))

    @abstractmethod
    def render(self, scope: Scope) -> Any:
        """What `run` needs of the scope. Raises ExpressionError."""

    @abstractmethod
    async def run(self, rendered: Any, doing: Doing) -> Json:
        """Does it; its output. Raises IpaasError."""
