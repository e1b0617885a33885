"""What a workflow says, typed. YAML files and Python's `@workflow(…)` are read by the same models.

`Declaration` is what both have: name, triggers, limits, answer. `flows.language.workflow` adds the steps of a YAML
file. What a model can check alone is checked here; what needs to know actions, schemes or other files: in `check`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from flows.language.fields import Duration as Duration
from flows.language.fields import Model as Model
from flows.language.fields import Timeout as Timeout
from flows.language.flow_control import (
    DEFAULT_LIMIT,
    Batch,
    Concurrency,
    Debounce,
    Limits,
    Priority,
    Throttle,
)

Json = Any
Path: TypeAlias = tuple[str | int, ...]
"""Where something is in a workflow: `("steps", 0, "retry", "delay")`."""


class Position(NamedTuple):
    """Where something is written in a file; both are counted from 1, and None when there is no file."""

    line: int | None = None
    column: int | None = None


def position_of(positions: Mapping[Path, Position], path: Path) -> Position:
    """The position of what is at this path, or of the nearest thing around it."""
    while path and path not in positions:
        path = path[:-1]
    return positions.get(path, Position())


NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HOOK_PATH: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_PATTERN: Final = re.compile(r"[a-z0-9*-]+")
LONGEST_NAME: Final = 64
METHODS: Final = ("POST", "PUT", "PATCH", "GET", "DELETE")


def _name(value: str) -> str:
    if not NAME.fullmatch(value) or len(value) > LONGEST_NAME:
        raise ValueError(
            f"{value!r} is not a name: lowercase letters and digits, with single dashes between, at most {LONGEST_NAME}"
        )
    return value


def _hook_path(value: str) -> str:
    if not _HOOK_PATH.fullmatch(value) or len(value) > 200:
        raise ValueError(f"{value!r} is not a hook path: letters, digits, - _ . ~ and single slashes between, like a/b")
    return value


Name = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$", "maxLength": LONGEST_NAME}),
]


class AuthSpec(Model):
    """How a webhook's deliveries are verified. `options` are the scheme's own."""

    scheme: str
    credential: Name
    options: Mapping[str, Json] = {}

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        own = {key: data[key] for key in ("scheme", "credential") if key in data}
        return own | {"options": {key: value for key, value in data.items() if key not in own}}

    @model_serializer
    def _flat(self) -> dict[str, Json]:
        return {"scheme": self.scheme, "credential": self.credential, **self.options}


def _auth(value: Any) -> Any:
    if value == "none":
        return None
    if not isinstance(value, (Mapping, AuthSpec)):
        raise ValueError("expected {scheme: …, credential: …}, or the word none to take anything from anyone")
    return value


class Webhook(Model):
    """`POST /hooks/{path}` starts an execution.

    Attributes:
        path: None only until it is part of a declaration; then the workflow's name by default.
        auth: None when the author wrote `none`: every delivery is taken.
        dedupe: a text with expressions over `event`; None: the scheme's own delivery id.
        when: a bare expression over `event`; an event for which it is false starts nothing. None: all do.
    """

    path: Annotated[str, AfterValidator(_hook_path)] | None = None
    methods: tuple[Literal["POST", "PUT", "PATCH", "GET", "DELETE"], ...] = Field(default=("POST",), min_length=1)
    auth: Annotated[AuthSpec | None, BeforeValidator(_auth)]
    dedupe: str | None = None
    when: str | None = None

    @field_validator("methods", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return [item.upper() if isinstance(item, str) else item for item in value] if isinstance(value, list) else value

    @model_serializer
    def _as_data(self) -> dict[str, Json]:
        auth = "none" if self.auth is None else self.auth.model_dump()
        data = {"path": self.path, "methods": list(self.methods), "auth": auth}
        data |= {"dedupe": self.dedupe, "when": self.when}
        return {"webhook": {key: value for key, value in data.items() if value is not None}}


class Schedule(Model):
    """Starts an execution at times: a `cron` line in a `timezone`, or `every` so many seconds.

    Attributes:
        missed: of the times that passed while nothing could start, none runs, the newest one, or every one.
    """

    cron: str | None = None
    timezone: str | None = None
    every: Timeout | None = None
    missed: Literal["skip", "once", "all"] = "once"

    @model_validator(mode="after")
    def _one_way(self) -> Schedule:
        if (self.cron is None) == (self.every is None):
            raise ValueError("expected cron or every, and one of them only")
        if self.timezone is not None and self.cron is None:
            raise ValueError("timezone belongs to cron; every counts seconds")
        if self.every is not None and self.every < 1:
            raise ValueError("every: at least 1s")
        return self

    @model_serializer
    def _as_data(self) -> dict[str, Json]:
        missed = None if self.missed == "once" else self.missed
        data = {"cron": self.cron, "timezone": self.timezone, "every": self.every, "missed": missed}
        return {"schedule": {key: value for key, value in data.items() if value is not None}}


def _pattern(value: str) -> str:
    if not _PATTERN.fullmatch(value) or len(value) > LONGEST_NAME:
        raise ValueError(f"{value!r} is neither a workflow's name nor a pattern of names, like orders-*")
    return value


class Failure(Model):
    """Starts an execution when one of another workflow has failed or timed out.

    Attributes:
        of: names of workflows; `*` stands for any characters.
    """

    of: tuple[Annotated[str, AfterValidator(_pattern)], ...] = Field(min_length=1)

    @model_serializer
    def _as_data(self) -> dict[str, Json]:
        return {"failure": {"of": list(self.of)}}


class Poll(Model):
    """Runs an action every so often, and starts an execution for each item that it has not found before.

    Attributes:
        with_: the action's arguments, with expressions over `cursor` (null before the first poll that went well) and
            `now`.
        every: seconds from one poll to the next.
        items: a bare expression over `output`, the action's, that gives the list.
        key: a bare expression over `item` that tells items apart.
        cursor: a bare expression over `output` that gives what the next poll sees as `cursor`.
        from_: what the first poll makes of the items it finds: nothing (`now`), or executions (`start`).
        each: an execution for each `item`, or one for all new ones together (`batch`).
    """

    uses: str
    with_: Mapping[str, Json] = Field(default={}, alias="with")
    credential: Name | None = None
    every: Timeout
    items: str = "output"
    key: str = "item.id"
    cursor: str | None = None
    from_: Literal["now", "start"] = Field(default="now", alias="from")
    each: Literal["item", "batch"] = "item"

    @field_validator("every", mode="after")
    @classmethod
    def _not_too_often(cls, value: float) -> float:
        if value < 1:
            raise ValueError("at least 1s")
        return value

    @model_serializer
    def _as_data(self) -> dict[str, Json]:
        optional = {"with": dict(self.with_), "credential": self.credential, "cursor": self.cursor}
        said = {"uses": self.uses, "every": self.every, "items": self.items, "key": self.key}
        said |= {"from": self.from_, "each": self.each}
        return {"poll": said | {key: value for key, value in optional.items() if value}}


TRIGGERS: Final[Mapping[str, type[Model]]] = {
    "webhook": Webhook,
    "schedule": Schedule,
    "poll": Poll,
    "failure": Failure,
}
"""All kinds of triggers."""


def _kind_of(value: Any) -> str | None:
    if isinstance(value, tuple(TRIGGERS.values())):
        return type(value).__name__.lower()
    return next((kind for kind in TRIGGERS if isinstance(value, Mapping) and kind in value), None)


def _inside(kind: str) -> BeforeValidator:
    def unwrap(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if len(value) > 1:
            raise ValueError("one trigger an item: start each with its own dash")
        return {} if value[kind] is None else value[kind]

    return BeforeValidator(unwrap)


Trigger = Annotated[
    Annotated[Webhook, _inside("webhook"), Tag("webhook")]
    | Annotated[Schedule, _inside("schedule"), Tag("schedule")]
    | Annotated[Poll, _inside("poll"), Tag("poll")]
    | Annotated[Failure, _inside("failure"), Tag("failure")],
    Discriminator(_kind_of),
]


class Respond(Model):
    """What the sender of a webhook gets. All but `when` belongs to `finished`.

    Attributes:
        timeout: seconds that the sender's connection is held; then it gets a 202.
        status: a number, or a text with an expression.
        body: any JSON with expressions; beyond a step's scope it has `output`, the workflow's.
        on_disconnect: what becomes of the execution when the sender hangs up.
    """

    when: Literal["accepted", "finished"] = "accepted"
    timeout: Timeout = 25.0
    status: Annotated[int | str, BeforeValidator(lambda value: _status(value))] = 200
    body: Json = "{{ output }}"
    headers: Mapping[str, Json] = {}
    on_disconnect: Literal["continue", "cancel"] = "continue"

    @model_validator(mode="after")
    def _only_when_finished(self) -> Respond:
        changed = self.model_dump(exclude_defaults=True)
        if self.when == "accepted" and changed:
            raise ValueError(f"{', '.join(changed)} needs when: finished; an accepted event is answered with a 202")
        return self


def _status(value: Any) -> int | str:
    if isinstance(value, str) and "{{" in value:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        raise ValueError(f"expected a status from 200 to 599, got {value!r}")
    return value


class Declaration(Model):
    """What a workflow says of itself beyond its steps, in YAML and in Python."""

    name: Name
    description: str = ""
    tags: tuple[str, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    mode: Literal["standard", "express"] | None = None
    """Who starts its runs: Prefect, each by itself; or a worker at once, and Prefect is told. None: as the platform."""
    concurrency: Limits = (Concurrency(),)
    throttle: Throttle | None = None
    debounce: Debounce | None = None
    batch: Batch | None = None
    priority: Priority = 0.0
    timeout: Timeout = 300.0
    input: Mapping[str, Json] | None = None
    respond: Respond = Respond()

    _file: str | None = PrivateAttr(default=None)
    _positions: Mapping[Path, Position] = PrivateAttr(default_factory=dict)

    @field_validator("triggers", mode="after")
    @classmethod
    def _default_paths(cls, triggers: tuple[Trigger, ...], info: ValidationInfo) -> tuple[Trigger, ...]:
        if "name" not in info.data:
            return triggers
        default = {"path": info.data["name"]}
        return tuple(
            trigger.model_copy(update=default) if isinstance(trigger, Webhook) and trigger.path is None else trigger
            for trigger in triggers
        )

    @property
    def limit(self) -> int:
        """How many of its executions run at once, whatever their keys are."""
        return next((one.limit for one in self.concurrency if one.key is None), DEFAULT_LIMIT)

    @property
    def file(self) -> str | None:
        """The file it was read from, as its author named it."""
        return self._file

    def position(self, *path: str | int) -> Position:
        """Where what is at this path was written, or the nearest thing around it."""
        return position_of(self._positions, path)


D = TypeVar("D", bound=Declaration)


def located(declaration: D, file: str | None, positions: Mapping[Path, Position]) -> D:
    """The same declaration, which knows where its parts were written."""
    copy = declaration.model_copy()
    copy._file, copy._positions = file, dict(positions)
    return copy


_TRIGGERS: Final[TypeAdapter[tuple[Trigger, ...]]] = TypeAdapter(tuple[Trigger, ...])


def triggers_as_data(triggers: Sequence[Trigger]) -> list[Json]:
    """The triggers as plain JSON, every default written out."""
    return _TRIGGERS.dump_python(tuple(triggers), mode="json")  # type: ignore[no-any-return]


def triggers_from_data(data: Json) -> tuple[Trigger, ...]:
    """What `triggers_as_data` made of them.

    Raises:
        pydantic.ValidationError: it is something else.
    """
    return _TRIGGERS.validate_python(data)


def content_hash(content: str | Json) -> str:
    """The version of a workflow: the first 12 hex digits of the SHA-256 of its text, or of its data as sorted JSON."""
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
