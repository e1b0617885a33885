"""One thing that workflows do, written in YAML and in Python, with what has to come of it in every form."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from executing import URL, bench, in_yaml

from connectors import http
from flows.history import Execution
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.python_source import load_python_file
from ipaas.eject import eject


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        requests: path and body of each, in order; those that are sent side by side may come in any.
        error: the code of what the execution fails with; None: it succeeds.
        says: what stands in the error's message.
        ran: the steps that have an action, with how they ended; None: whatever.
        answers: the remote system's statuses by path.
    """

    body: Any = None
    requests: Sequence[tuple[str, Any]] = ()
    output: Any = None
    error: str | None = None
    says: str = ""
    ran: dict[str, str] | None = None
    answers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """
    Attributes:
        yaml: the workflow's text.
        python: the same, as a person would write it; it names its calls as the YAML does.
        cases: events, and what comes of them.
        in_order: whether requests come in one order only.
        codes: whether a failure has the same code in Python: a missing key has another.
    """

    name: str
    yaml: str
    cases: Sequence[Case]
    python: WorkflowFlow | None = None
    in_order: bool = True
    codes: bool = True


async def post(path: str, body: Any = None, *, id: str | None = None) -> Any:
    """As `executing.post`, in Python; what the remote system got."""
    answer = await http.request.with_id(id or path.strip("/"))(method="POST", url=URL + path, json=body)
    return answer["body"]["got"]


@cache
def ejected(yaml: str) -> str:
    return eject(yaml if yaml.startswith("name:") else f"name: test\n{yaml}")


def in_form(scenario: Scenario, form: str, folder: Path) -> WorkflowFlow:
    if form == "yaml":
        return in_yaml(scenario.yaml)
    if form == "python":
        assert scenario.python
        return scenario.python
    file = folder / "ejected.py"
    file.write_text(ejected(scenario.yaml), encoding="utf-8")
    [flow] = load_python_file(file)
    return flow


async def check(scenario: Scenario, case: Case, form: str, folder: Path) -> None:
    flow = in_form(scenario, form, folder)
    async with bench(statuses=case.answers) as on:
        execution = await on.run(flow, case.body)
        sent = [(one.url.raw_path.decode(), json.loads(one.content or "null")) for one in on.remote.requests]
    code, message = (execution.error["code"], execution.error["message"]) if execution.error else (None, "")
    if code and form != "yaml" and not scenario.codes:
        code = case.error
    assert (code, execution.output) == (case.error, case.output), message
    assert case.says in message
    wanted = list(case.requests)
    assert (sent if scenario.in_order else sorted(sent, key=repr)) == (
        wanted if scenario.in_order else sorted(wanted, key=repr)
    )
    if case.ran is not None:
        assert actions(execution) == case.ran
    if form == "ejected":
        assert known_as(execution, on.remote.requests) == await as_in_yaml(scenario, case)


async def as_in_yaml(scenario: Scenario, case: Case) -> Any:
    async with bench(statuses=case.answers) as on:
        execution = await on.run(in_yaml(scenario.yaml), case.body)
        return known_as(execution, on.remote.requests)


def known_as(execution: Execution, requests: Sequence[httpx.Request]) -> Any:
    """By which path each request and the failure are known, and how each action ended."""
    keys = sorted(one.headers.get("idempotency-key", "").partition(":")[2] for one in requests)
    failed = execution.error["step"] if execution.error and execution.error["code"] != "expression" else None
    return [one.removesuffix(".http.request") for one in (*keys, failed or "")], actions(execution)


def actions(execution: Execution) -> dict[str, str]:
    """The steps that ran an action, by path. A loop's own action is a step within its round in Python."""
    return {
        re.sub(rf"\.{re.escape(one.action)}$", "", one.path): str(one.status)
        for one in execution.steps
        if "." in one.action and one.status != "skipped"
    }
