"""`ipaas check`: what it says, and what it executes to be able to say it."""

from __future__ import annotations

from pathlib import Path

YAML = "name: orders\nsteps: [{id: a, uses: log.message, with: {text: x}}]\n"
PYTHON = "from flows import workflow\n@workflow()\nasync def mine(event): ...\n"


def test_nothing_is_said_of_files_that_are_right_and_not_executed(ipaas, tmp_path: Path):
    (tmp_path / "orders.yaml").write_text(YAML)
    (tmp_path / "other.py").write_text("raise SystemExit('executed')")

    outcome = ipaas("check", str(tmp_path))

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_a_file_that_is_executed_is_named(ipaas, tmp_path: Path):
    path = tmp_path / "order.py"
    path.write_text(PYTHON)

    outcome = ipaas("check", str(path), "--json")

    assert (outcome.code, outcome.document) == (0, [])
    assert outcome.err == f"executes {path} to read its workflows\n"


def test_a_python_file_without_a_workflow_is_not_executed_when_it_is_named_either(ipaas, tmp_path: Path):
    path = tmp_path / "setup.py"
    path.write_text("raise SystemExit('executed')")

    assert ipaas("check", str(path)).err == ""
