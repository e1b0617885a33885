"""Whole documents, as their owners publish them: every operation is read, described and typed.

`IPAAS_TEST_OPENAPI` names a folder of documents; without it those of tests/openapi are taken.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mypy import api
from openapi_documents import in_project

from connectors.openapi.adding import add
from connectors.openapi.checking import _compiled
from connectors.openapi.described import describe_pinned
from connectors.openapi.operation import read_operation
from connectors.openapi.operations import operation_action
from connectors.openapi.project import pinned_document

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("IPAAS_TEST_OPENAPI") or ROOT / "tests" / "openapi")
DOCUMENTS = sorted(file for file in FOLDER.iterdir() if file.suffix in (".json", ".yaml", ".yml"))


@pytest.fixture
def project(monkeypatch, tmp_path) -> Path:
    return in_project(monkeypatch, tmp_path)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_every_operation_of_a_document(project, file) -> None:
    added = add("the_api", str(file))
    document = pinned_document("the_api")
    assert added.operations == len(document.operations) > 0
    for name in document.operations:
        operation = read_operation(document, name)
        description = describe_pinned(f"the_api.{name}")
        assert description is not None
        assert description.arguments.keys() >= {one.argument for one in operation.parameters}
        for one in operation.parameters:
            _compiled(operation, one.argument)
        for media in operation.bodies:
            _compiled(operation, "body", media.content_type)
        assert operation_action(f"the_api.{name}") is not None


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_its_stub_is_python(project, monkeypatch, file) -> None:
    add("the_api", str(file))
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    said, faults, code = api.run(
        ["--strict", "--follow-imports=silent", f"--cache-dir={project / 'cache'}", "-p", "apis"]
    )
    assert (code, faults) == (0, ""), said


USE = """\
from typing import assert_type

from apis import parcels
from apis.parcels import CreateLabelResult, Response

async def right() -> None:
    made = await parcels.createLabel(order="A1", body={"weight": 2.5}, credential="c")
    assert_type(made, Response[CreateLabelResult])
    assert_type(made["body"].get("id"), str | None)
    inside = {"weight": 1.0}
    await parcels.createLabel.with_id("a").with_retry(attempts=2)(
        order="A1", express=True, body={"weight": 2.5, "contents": [{"weight": 1.0}]}, credential="c"
    )

async def wrong() -> None:
    await parcels.createLabel(order="A1", body={"wieght": 2.5}, credential="c")  # type: ignore[call-overload]
    await parcels.createLabel(order=1, body={"weight": 2.5}, credential="c")  # type: ignore[call-overload]
    await parcels.createLabel(order="A1", body={"weight": 2.5})  # type: ignore[call-overload]
    parcels.createLable  # type: ignore[attr-defined]
"""


def test_wrong_calls_are_told_by_the_type_checker(project, monkeypatch) -> None:
    add("parcels", str(ROOT / "tests" / "openapi" / "parcels.yaml"))
    (project / "use.py").write_text(USE)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    said, faults, code = api.run(["--strict", "--follow-imports=silent", f"--cache-dir={project / 'cache'}", "use.py"])
    assert (code, faults) == (0, ""), said
