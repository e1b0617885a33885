"""Cases beside a workflow: `order-confirmed.test.yaml` says what comes in, what others answer, and what is expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, StrictInt, field_validator, model_validator

from flows.engine.program import Program
from flows.language.definition import Json, Model, Position, position_of
from flows.language.definition import Path as Place
from flows.language.faults import DefinitionErrors, written
from flows.language.files import CASES_SUFFIXES
from flows.language.yaml_source import keys_of, text_of, validated
from flows.language.yaml_text import read_yaml
from flows.testing.answering import InTurn, check_keys
from flows.testing.programs import FILE, SUFFIXES, Programs
from flows.testing.stubs import unknown_steps
from foundation.errors import DefinitionError, NotFound

StepStatus = Literal["succeeded", "failed", "skipped", "cancelled", "running"]


class GivenEvent(Model):
    """The whole event."""

    body: Json = Field(default=None, description="Any JSON.")
    headers: Mapping[str, str] = Field(default={}, description="By name; case does not matter.")
    query: Mapping[str, str | list[str]] = Field(default={}, description="By name; a list for one that came often.")


class StepError(Model):
    """The error of a step that fails."""

    message: str = Field(description="What it says.")
    code: str = Field(default="action", description="`remote`, `timeout`, …")
    status: StrictInt | None = Field(default=None, description="The HTTP status that another system answered with.")


class Stub(Model):
    """What a step gives instead of doing anything."""

    output: Json = Field(default=None, description="What it gives.")
    error: StepError | None = Field(default=None, description="Or how it fails.")


def _status_alone(value: Any) -> Any:
    return {"status": value} if isinstance(value, str) else value


class ExpectedStep(Model):
    """How a step ended; a text alone is its status."""

    status: StepStatus | None = Field(default=None, description="`succeeded`, `failed`, `skipped` or `cancelled`.")
    output: Json = Field(default=None, description="Of a mapping, the keys that are written are compared.")
    error: Json = Field(default=None, description="A part of its message, or some of its keys.")
    attempts: StrictInt | None = Field(default=None, description="How often it was tried.")


def _method_and_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    method, _, url = value.partition(" ")
    if not url:
        raise ValueError(f"expected a method and an address, like POST https://stock.example/items, got {value!r}")
    return {"method": method, "url": url}


class ExpectedRequest(Model):
    """A request that is sent; a text alone is `METHOD URL`. Of mappings, the keys that are written are compared."""

    method: str | None = Field(default=None, description="In upper or lower case.")
    url: str | None = Field(default=None, description="`*` stands for anything; without a `?`, any query matches.")
    headers: Mapping[str, str] = Field(default={}, description="Some of them; case does not matter in names.")
    query: Mapping[str, str | list[str]] = Field(default={}, description="Some of the query's parameters.")
    json_: Json = Field(default=None, alias="json", description="Its body, parsed.")
    form: Mapping[str, str] | None = Field(default=None, description="The fields of a form.")
    body: str | None = Field(default=None, description="Its body as text, whole.")


class ExpectedAnswer(Model):
    """What the sender of the webhook gets."""

    status: StrictInt | None = Field(default=None, description="The HTTP status.")
    headers: Mapping[str, str] = Field(default={}, description="Some of them.")
    body: Json = Field(default=None, description="The body, compared whole.")


class Expect(Model):
    """What became of it. What is not written is not compared."""

    status: Literal["succeeded", "failed", "timed_out", "cancelled", "waiting", "refused"] | None = Field(
        default=None,
        description="The execution's; `refused`: the body did not fit the workflow's `input`. "
        "Default: `succeeded`, unless an `error` is expected.",
    )
    output: Json = Field(default=None, description="The workflow's, compared whole.")
    error: Json = Field(default=None, description="A part of its message, or some of its keys.")
    answer: ExpectedAnswer | None = Field(default=None, description="What the sender of the webhook gets.")
    requests: tuple[Annotated[ExpectedRequest, BeforeValidator(_method_and_url)], ...] | None = Field(
        default=None, description="All that are sent, in their order; `[]`: none."
    )
    steps: Mapping[str, Annotated[ExpectedStep, BeforeValidator(_status_alone)]] = Field(
        default={}, description="How steps ended, by path: `notify`, in a loop `lines[3].reserve`."
    )


class Case(Model):
    """One run of the workflow."""

    name: str = Field(description="What is shown of the case.")
    event: GivenEvent | None = Field(default=None, description="What starts the execution, or:")
    body: Json = Field(default=None, description="Short for an event that has nothing else.")
    credentials: Mapping[str, Mapping[str, Json]] = Field(
        default={}, description="By name, each the fields of its type."
    )
    clock: AwareDatetime | None = Field(default=None, description="When it begins, with a time zone.")
    answers: Mapping[str, InTurn] = Field(
        default={},
        description="What other systems answer, by `METHOD URL`, or `URL` for any method; `*` stands for anything. "
        "A list: one after the other, the last again and again. The first that matches a request answers it.",
    )
    stubs: Mapping[str, Stub] = Field(default={}, description="What steps give instead of doing anything, by path.")
    replies: Mapping[str, Json] = Field(
        default={},
        description="What comes to steps that wait, by path: the body of a signal or a callback, or a decision: "
        "`{approved: true, form: {…}, by: Ann}`.",
    )
    expect: Expect = Field(default_factory=Expect, description="What becomes of it; default: it succeeds.")

    _check_keys = field_validator("answers", mode="before")(check_keys)

    @model_validator(mode="after")
    def _one_event(self) -> Case:
        if {"event", "body"} <= self.model_fields_set:
            raise ValueError("event or body: the event has a body of its own")
        return self

    @property
    def given(self) -> GivenEvent:
        return self.event or GivenEvent(body=self.body)


class Cases(Model):
    """A file of cases."""

    workflow: str | None = Field(
        default=None,
        description="Its file, from here (`FILE.py:NAME`), or its name. Default: the file of the same name.",
    )
    cases: tuple[Case, ...] = Field(min_length=1, description="At least one.")


@dataclass(frozen=True)
class CaseFile:
    """A file's cases with the workflow that they are of."""

    file: Path
    cases: tuple[Case, ...]
    program: Program
    positions: Mapping[Place, Position]

    def position(self, place: Place) -> Position:
        """Where that is written, or the nearest around it."""
        return position_of(self.positions, place)


def read_cases(file: Path) -> CaseFile:
    """
    Raises:
        DefinitionErrors: everything that is wrong with the cases, or with their workflow, each fault with its place.
    """
    try:
        text = text_of(file, str(file))
    except DefinitionError as error:
        raise DefinitionErrors([error]) from None
    return parse_cases(text, file)


def parse_cases(text: str, file: Path, program: Program | None = None) -> CaseFile:
    """
    Args:
        program: of the workflow; None: the text says which it is. Raises as `read_cases`.
    """
    name = str(file)
    try:
        root = read_yaml(text, name)
        if not isinstance(root.value, dict):
            line, column = root.position
            raise DefinitionError("a file of cases is a mapping with cases: […]", file=name, line=line, column=column)
    except DefinitionError as error:
        raise DefinitionErrors([error]) from None
    positions = dict(root.positions())
    cases = validated(Cases, root.data(), _known_keys, file=name, positions=positions)
    try:
        found = CaseFile(file, cases.cases, program or _program(file, cases.workflow), positions)
    except NotFound as error:
        line, column = position_of(positions, ("workflow",))
        raise DefinitionErrors([DefinitionError(f"workflow: {error}", file=name, line=line, column=column)]) from None
    if faults := list(_unknown_steps(found)):
        raise DefinitionErrors(faults)
    return found


def _program(file: Path, workflow: str | None) -> Program:
    if workflow is not None:
        is_file = FILE.fullmatch(workflow)
        return Programs([file.parent]).find(str(file.parent / workflow) if is_file else workflow)
    stem = next(
        file.name.removesuffix(suffix) for suffix in (*CASES_SUFFIXES, file.suffix) if file.name.endswith(suffix)
    )
    beside = [file.with_name(stem + suffix) for suffix in SUFFIXES]
    for one in beside:
        if one.is_file():
            return Programs().find(one)
    raise NotFound(f"there is no {', '.join(one.name for one in beside[:-1])} or {beside[-1].name} beside it; name it")


def _unknown_steps(found: CaseFile) -> Iterator[DefinitionError]:
    for number, case in enumerate(found.cases):
        named = {("stubs",): case.stubs, ("replies",): case.replies, ("expect", "steps"): case.expect.steps}
        for keys, paths in named.items():
            place: Place = ("cases", number, *keys)
            for path, said in unknown_steps(found.program, paths):
                line, column = found.position((*place, path))
                yield DefinitionError(f"{written(place)}: {said}", file=str(found.file), line=line, column=column)


def _known_keys(place: Place) -> list[str]:
    model = _model_at(Cases, place[:-1])
    return keys_of(model) if model else []


def _model_at(kind: Any, place: Place) -> type[BaseModel] | None:
    """The model of what stands there."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not place:
            return kind
        by_key = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
        return _model_at(by_key.get(str(place[0])), place[1:])
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (tuple, list):
        return _model_at(inner[0], place[1:])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _model_at(inner[1], place[1:])
    found = (_model_at(one, place) for one in (inner[:1] if origin is Annotated else inner))
    return next((one for one in found if one), None)
