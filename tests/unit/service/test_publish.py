"""From files and folders to flows: both languages, all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.language.definition import Declaration
from flows.language.faults import DefinitionErrors
from foundation.errors import DefinitionError
from ipaas.checking import CATALOG, check, load
from ipaas.publish import compile_files, publish_entrypoint

YAML = "name: orders\nsteps: [{id: a, uses: log.message, with: {text: x}}]\n"
PYTHON = """
from flows import Event, workflow

@workflow(name="from-python")
async def mine(event: Event) -> None: ...
"""


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text)
    return folder


def test_a_folder_of_both_languages_is_compiled(tmp_path: Path) -> None:
    flows = compile_files([written(tmp_path, orders_yaml=YAML, mine_py=PYTHON, plain_py="x = 1", notes_txt="no")])

    assert sorted((flow.name, flow.published.language) for flow in flows) == [
        ("from-python", "python"),
        ("orders", "yaml"),
    ]


def test_a_yaml_version_has_the_files_text_whatever_mark_it_begins_with(tmp_path: Path) -> None:
    (tmp_path / "orders.yaml").write_text("\ufeff" + YAML, encoding="utf-8")

    [flow] = compile_files([tmp_path / "orders.yaml"])

    assert flow.published.source == YAML
    assert flow.published.file == str(tmp_path / "orders.yaml")


def test_every_fault_of_every_file_is_named_and_nothing_is_compiled(tmp_path: Path) -> None:
    broken = YAML.replace("log.message", "log.massage").replace("orders", "broken")
    folder = written(tmp_path, a_yaml=YAML, b_yaml=broken, c_py=f"import sys\nsys.exit(1)\n{PYTHON}")

    with pytest.raises(DefinitionErrors) as error:
        compile_files([folder])

    assert "b.yaml:2:17: " in str(error.value)
    assert "c.py:2: SystemExit: 1" in str(error.value)


def test_two_workflows_of_one_name_are_a_fault(tmp_path: Path) -> None:
    assert check([written(tmp_path, a_yaml=YAML, b_yaml=YAML)])


def test_a_files_declarations_can_be_had_alone(tmp_path: Path) -> None:
    folder = written(tmp_path, orders_yaml=YAML, mine_py=PYTHON)

    said: list[Declaration] = [*load(folder / "orders.yaml"), *load(folder / "mine.py")]

    assert [declaration.name for declaration in said] == ["orders", "from-python"]


def test_the_shipped_workflows_have_no_fault() -> None:
    assert check([CATALOG]) == []
    assert {flow.published.language for flow in compile_files([CATALOG])} == {"yaml", "python"}


async def test_what_is_no_workflow_can_not_be_published(tmp_path: Path) -> None:
    path = written(tmp_path, plain_py="from prefect import flow\n\n@flow\ndef plain():\n    pass\n") / "plain.py"

    with pytest.raises(DefinitionError, match="is not a workflow"):
        await publish_entrypoint(f"{path}:plain")


TRAP = "import pathlib\npathlib.Path(__file__).with_suffix('.sprung').touch()\n"


def test_of_a_folder_full_of_traps_only_workflows_are_executed(tmp_path: Path) -> None:
    """Told of before it is executed."""
    for name in (
        "setup.py",
        "__main__.py",
        "conftest.py",
        "tests/test_orders.py",
        "venv/lib/python3/site-packages/thing/__init__.py",
        ".git/hooks/hook.py",
        "node_modules/gyp/gyp.py",
        "__pycache__/x.py",
        "imports_only.py",
        "not_ours.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TRAP)
    for name in ("venv/lib/python3/site-packages/thing/__init__.py", ".git/hooks/hook.py", "node_modules/gyp/gyp.py"):
        (tmp_path / name).write_text(TRAP + PYTHON)
    (tmp_path / "venv/pyvenv.cfg").touch()
    (tmp_path / "imports_only.py").write_text(TRAP + "from flows import workflow\n")
    (tmp_path / "not_ours.py").write_text(TRAP + PYTHON.replace("from flows", "from elsewhere"))
    mine = tmp_path / "mine.py"
    mine.write_text(TRAP + PYTHON)
    told: list[Path] = []

    assert check([tmp_path], executing=told.append) == []
    assert [flow.name for flow in compile_files([tmp_path])] == ["from-python"]

    assert told == [mine]
    assert list(tmp_path.rglob("*.sprung")) == [mine.with_suffix(".sprung")]
