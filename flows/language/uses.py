"""`uses`: a step that runs an action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, StrictInt

from flows.expressions import Expression, literal_hosts
from flows.expressions.schema_shapes import of_schema
from flows.expressions.shapes import ANYTHING, Shape
from flows.language.definition import Duration, Json, Model, Name, Timeout
from flows.language.fitting import check_fit, hint
from flows.language.place import Actions, Place
from flows.language.step import Doing, Scope, Step
from foundation.errors import ConfigurationError


def _retry_on(value: Any) -> Any:
    is_status = isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599
    if not is_status and value not in ("4xx", "5xx", "timeout", "connection"):
        raise ValueError(f"expected a status like 429, or 4xx, 5xx, timeout or connection, got {value!r}")
    return value


class Retry(Model):
    """How a failed step is tried again. `on` empty: whatever failure may pass by itself."""

    attempts: StrictInt = Field(default=3, ge=1, le=100)
    delay: Duration = 1.0
    backoff: Literal["exponential", "constant", "linear"] = "exponential"
    max_delay: Duration = 30.0
    on: tuple[Annotated[Any, BeforeValidator(_retry_on)], ...] = ()


class Uses(Step):
    """A step that runs an action.

    Attributes:
        with_: the arguments, with expressions in them.
        timeout: seconds, of each attempt.
    """

    kind: ClassVar[str] = "uses"

    uses: str
    with_: Mapping[str, Json] = Field(default={}, alias="with")
    credential: Name | None = None
    retry: Retry | None = None
    timeout: Timeout | None = None

    _arguments: Expression = PrivateAttr()
    _hosts: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def action(self) -> str:
        return self.uses

    def wrote_host(self, host: str) -> bool:
        return host in self._hosts

    @property
    def actions(self) -> tuple[str, ...]:
        return (self.uses,)

    def compile(self, place: Place) -> None:
        super().compile(place)
        action = place.action(self.uses)
        verbatim, urls = (action.unrendered, action.urls) if action else ((), ())
        self._arguments = place.at("with").value(self.with_, verbatim=verbatim, urls=urls)
        self._hosts = place.hosts | literal_hosts(self.with_)

    def render(self, scope: Scope) -> dict[str, Any]:
        """The action's arguments."""
        arguments: dict[str, Any] = self._arguments.render(scope)
        return arguments | ({"credential": self.credential} if self.credential else {})

    async def run(self, rendered: dict[str, Any], doing: Doing) -> Json:
        return await doing.act(self, rendered)

    def check(self, place: Place) -> None:
        super().check(place)
        try:
            action = place.actions.get(self.uses)
        except ConfigurationError as error:
            place.at("uses").fault(str(error))
            return
        if action is None:
            place.at("uses").fault(_unknown_action(self.uses, place.actions))
            return
        try:
            action = action.narrowed(self.with_)
        except ConfigurationError as error:
            key = getattr(error, "argument", "")
            place.at("with", *([key] if key in self.with_ else [])).fault(str(error))
            return
        if self.credential is not None and not action.credential_types:
            place.at("credential").fault(f"{self.uses} takes no credential")
        if self.credential is None and action.credential_required:
            place.fault(f"{self.uses} needs a credential: NAME")
        for name, value in self.with_.items():
            argument = place.at("with", name)
            if name in action.unrendered:
                continue
            if name in action.arguments:
                check_fit(argument, value, of_schema(action.arguments[name]))
            elif name == "credential" and action.credential_types:
                argument.fault("credential stands beside with, not in it")
            else:
                argument.fault(f"{self.uses} has no argument {name!r}; {hint(name, action.arguments)}")
        for name in action.required:
            if name not in self.with_:
                place.at("with").fault(f"{self.uses} needs the argument {name!r}")

    def gives(self, place: Place) -> Shape:
        action = place.action(self.uses)
        try:
            return of_schema(action.narrowed(self.with_).result, closed=True) if action else ANYTHING
        except ConfigurationError:  # `check` tells it
            return ANYTHING


def _unknown_action(name: str, actions: Actions) -> str:
    connector = name.partition(".")[0]
    siblings = [known for known in actions if known.startswith(f"{connector}.")]
    return f"unknown action {name!r}; {hint(name, siblings or list(actions))}"
