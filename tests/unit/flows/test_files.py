"""Which files define workflows is found without executing any."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.language.files import defines_workflows, find_case_files, find_workflow_files
from foundation.errors import DefinitionError


def a_file(folder: Path, name: str, text: str = "") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_files_are_found_however_deep_and_hidden_ones_left_out(tmp_path) -> None:
    for name in ("b.yaml", "a.yml", "deep/c.yaml", "notes.txt", ".hidden/d.yaml", "code.py"):
        a_file(tmp_path, name, "")
    found = [str(path.relative_to(tmp_path)) for path in find_workflow_files([tmp_path])]
    assert found == ["a.yml", "b.yaml", "deep/c.yaml"]
    assert list(find_workflow_files([tmp_path / "notes.txt"])) == [tmp_path / "notes.txt"]
    with pytest.raises(DefinitionError, match="no such file or folder"):
        list(find_workflow_files([tmp_path / "gone"]))


def test_files_of_test_cases_are_no_workflows(tmp_path: Path) -> None:
    cases = [a_file(tmp_path, name) for name in ("a.test.yaml", "deep/b.test.yml")]
    workflow = a_file(tmp_path, "a.yaml")
    assert list(find_workflow_files([tmp_path, *cases])) == [workflow]
    assert list(find_case_files([tmp_path, workflow])) == cases


def test_environments_caches_and_packages_of_others_are_left_out(tmp_path: Path) -> None:
    for name in (
        "mine.py",
        "deep/yours.py",
        "venv/lib/x.py",
        ".git/x.py",
        "node_modules/x.py",
        "deep/__pycache__/x.py",
    ):
        a_file(tmp_path, name)
    a_file(tmp_path, "venv/pyvenv.cfg")
    found = [str(path.relative_to(tmp_path)) for path in find_workflow_files([tmp_path], (".py",))]
    assert found == ["deep/yours.py", "mine.py"]


APPLIED = "(triggers=[])\nasync def mine(event): ...\n"


@pytest.mark.parametrize(
    "text",
    [
        f"from flows import workflow\n@workflow{APPLIED}",
        f"from flows import Event, workflow as flow\n@flow{APPLIED}",
        f"from flows import *\n@workflow{APPLIED}",
        f"import flows\n@flows.workflow{APPLIED}",
        f"import flows as f\n@f.workflow{APPLIED}",
        f"import flows.on_prefect.python_source\n@flows.on_prefect.python_source.workflow{APPLIED}",
        f"import flows.on_prefect.python_source as source\n@source.workflow{APPLIED}",
        f"from flows.on_prefect.python_source import workflow\n@workflow{APPLIED}",
        "from flows import workflow\n@workflow\nasync def forgot_the_brackets(event): ...",
        f"from flows import workflow\nours = workflow\n@ours{APPLIED}",
        "from flows import workflow\nours = workflow(tags=['ours'])\n@ours\nasync def mine(event): ...",
        "from flows import workflow\nasync def one(event): ...\nmine = workflow()(one)",
        "from flows import workflow\ndef ours(f):\n    return workflow()(f)\n@ours\nasync def mine(event): ...",
        "try:\n    from flows import workflow\nfinally: ...\nif True:\n    @workflow()\n    async def mine(event): ...",
        f"from flows import workflow\n@print\n@workflow{APPLIED}",
        f"\ufefffrom flows import workflow\n@workflow{APPLIED}",
    ],
)
def test_a_file_that_applies_the_decorator_defines_workflows(tmp_path: Path, text: str) -> None:
    assert defines_workflows(a_file(tmp_path, "a.py", text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1",
        "from flows import Event, workflow\n",
        "import flows\nflows.workflow",
        f"from prefect import flow as workflow  # not of flows\n@workflow{APPLIED}",
        f"from .flows import workflow\n@workflow{APPLIED}",
        f"def workflow(**given): ...\n@workflow{APPLIED}  # flows",
        f'"""from flows import workflow\n@workflow{APPLIED}"""',
        f"# from flows import workflow\n# @workflow{APPLIED}".replace("\nasync", "\n# async"),
        "from flows import workflow\ndef test_it():\n    @workflow()\n    async def mine(event): ...",
        "from flows import workflow\nclass Test:\n    def test_it(self):\n        workflow()(print)",
        "def broken(:  # workflow, flows",
        "\0 flows workflow",
        "flows = workflow = " + "(" * 5000,
    ],
)
def test_any_other_file_defines_none(tmp_path: Path, text: str) -> None:
    assert not defines_workflows(a_file(tmp_path, "a.py", text))


def test_a_workflow_that_can_not_be_parsed_is_a_fault(tmp_path: Path) -> None:
    path = a_file(tmp_path, "a.py", "from flows import workflow\n\n@workflow(\n")
    with pytest.raises(DefinitionError, match=r"a\.py:3:10: SyntaxError: ") as caught:
        defines_workflows(path)
    assert caught.value.line == 3
