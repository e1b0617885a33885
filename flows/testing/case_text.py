"""A case made of what really happened, as YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from flows.history import Execution, Status, StepExecution, WaitKind
from flows.language.call import Call
from flows.language.kinds import KINDS
from flows.language.signal import Signal
from flows.language.yaml_text import read_yaml
from flows.testing.recording import Exchange
from flows.testing.requests import EVERY_REQUEST_HAS
from foundation.errors import DefinitionError
from foundation.masking import MASK, Masker

_LINES: Final = re.compile(r"[^\r\n]+(\n[^\r\n]*)+")
"""A text of several lines."""
_SPECIAL: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_NOT_KEPT: Final = frozenset(
    {"connection", "content-encoding", "content-length", "date", "keep-alive", "server", "set-cookie"}
    | {"transfer-encoding"}
)
"""Headers of an answer that are of its way, not of what it says, or that are secret."""


def case_of_exchanges(
    execution: Execution, exchanges: Sequence[Exchange], credentials: Mapping[str, Any], masker: Masker
) -> dict[str, Any]:
    """A case of an execution whose requests were seen: they are answered as they were."""
    answers: dict[str, list[Any]] = {}
    for one in exchanges:
        answers.setdefault(masker.mask(str(one.request)), []).append(_answer(one))
    case = {
        **_given(execution),
        "replies": _replies(execution),
        "answers": {key: given[0] if len(given) == 1 else given for key, given in answers.items()},
        "expect": {**_end(execution), "requests": [_request(one) for one in exchanges]},
    }
    return _tidied({**_masked(case, execution, masker), "credentials": dict(credentials)})


def case_of_history(execution: Execution, masker: Masker) -> dict[str, Any]:
    """A case of a stored execution. Its requests are not stored: steps that did something give what they gave."""
    stubs = {step.path: _stub(step) for step in execution.steps if _is_stubbed(step)}
    case = {**_given(execution), "stubs": stubs, "replies": _replies(execution), "expect": _end(execution)}
    return _tidied(_masked(case, execution, masker))


def yaml_of(case: Mapping[str, Any], workflow: str | None, source: str) -> str:
    """The file with this one case.

    Args:
        workflow: None: the one of the same name beside it.
        source: where it is from.
    """
    document = {"workflow": workflow, "cases": [case]} if workflow else {"cases": [case]}
    yaml, text = YAML(), StringIO()
    yaml.width, yaml.allow_unicode = 120, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(_in_blocks(document), text)
    if not _reads_as(text.getvalue(), document):  # it has characters that YAML takes for others, or for none
        written = json.dumps(document, indent=2, ensure_ascii=False)
        text = StringIO(_SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", written))
    return f"# Recorded from {source}. {MASK} is a secret, or its own id: it matches anything.\n{text.getvalue()}"


def _reads_as(text: str, document: Any) -> bool:
    try:
        return bool(read_yaml(text).data() == document)
    except DefinitionError:
        return False


def _in_blocks(value: Any) -> Any:
    """Texts of several lines are written as such."""
    if isinstance(value, dict):
        return {key: _in_blocks(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_blocks(inner) for inner in value]
    return LiteralScalarString(value) if isinstance(value, str) and _LINES.fullmatch(value) else value


def _masked(case: dict[str, Any], execution: Execution, masker: Masker) -> dict[str, Any]:
    """Without secrets, and without the execution's id, which is another one each time."""
    own_id = Masker()
    own_id.add(execution.id)
    masked: dict[str, Any] = own_id.mask_json(masker.mask_json(case))
    return masked


def _given(execution: Execution) -> dict[str, Any]:
    event = {key: execution.event[key] for key in ("body", "headers", "query") if execution.event.get(key)}
    if headers := {name: value for name, value in event.pop("headers", {}).items() if name not in EVERY_REQUEST_HAS}:
        event["headers"] = headers
    began = execution.started_at or execution.accepted_at
    return {
        "name": f"as on {began.astimezone(UTC):%Y-%m-%d at %H:%M:%S}",
        **(event if set(event) <= {"body"} else {"event": event}),
        "clock": _time(began),
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _end(execution: Execution) -> dict[str, Any]:
    end: dict[str, Any] = {"status": execution.status.value}
    if execution.status is Status.SUCCEEDED:
        end["output"] = execution.output
    elif execution.error:
        end["error"] = {key: execution.error[key] for key in ("code", "step", "message") if execution.error.get(key)}
    if execution.answer and str(execution.answer.get("status")).isdecimal():
        end["answer"] = {"status": int(execution.answer["status"]), "body": execution.answer["body"]}
    if steps := {step.path: step.status.value for step in execution.steps if step.status is not Status.SUCCEEDED}:
        end["steps"] = steps
    return end


def _replies(execution: Execution) -> dict[str, Any]:
    """What came from outside to steps that waited for it."""
    replies: dict[str, Any] = {}
    for wait in execution.waits:
        if wait.answered and wait.kind is WaitKind.APPROVAL:
            replies[wait.path] = {**wait.answer, **({"by": wait.answered_by} if wait.answered_by else {})}
        elif wait.answered and wait.kind is not WaitKind.CALL:
            replies[wait.path] = wait.answer
    return replies


def _is_stubbed(step: StepExecution) -> bool:
    """Whether what it gave came from outside: not from steps inside it, nor as a reply, nor from expressions alone."""
    if step.status not in (Status.SUCCEEDED, Status.FAILED):
        return False
    kind = KINDS.get(step.action)
    if kind is None:
        return not step.action.startswith(("log.", "transform."))
    return kind in (Call, Signal)


def _stub(step: StepExecution) -> dict[str, Any]:
    if step.status is Status.SUCCEEDED:
        return {"output": step.output}
    return {"error": {key: step.error[key] for key in ("code", "message", "status") if step.error.get(key) is not None}}


def _answer(exchange: Exchange) -> dict[str, Any]:
    if exchange.error:
        return {"error": exchange.error}
    answer = exchange.answer
    headers = {name: value for name, value in answer.headers.items() if name not in _NOT_KEPT}
    said: dict[str, Any] = {} if answer.status_code == 200 else {"status": answer.status_code}
    try:
        said["json"] = answer.json()
        if headers.get("content-type") == "application/json":
            del headers["content-type"]
    except ValueError:
        if answer.text:
            said["body"] = answer.text
    return {**said, **({"headers": headers} if headers else {})}


def _request(exchange: Exchange) -> dict[str, Any]:
    request = exchange.request
    said: dict[str, Any] = {"method": request.method, "url": request.url}
    if request.content:
        content_type = request.headers.get("content-type", "")
        kind = "form" if content_type.startswith("application/x-www-form-urlencoded") else "json"
        if kind == "json" and isinstance(request.body, str):
            kind = "body"
        said[kind] = request.form if kind == "form" else request.body
    return said


def _tidied(case: dict[str, Any]) -> dict[str, Any]:
    """In the order in which people write it, without what is empty."""
    order = ("name", "event", "body", "clock", "credentials", "answers", "stubs", "replies", "expect")
    return {key: case[key] for key in order if key in case and case[key] not in ({}, [])}
