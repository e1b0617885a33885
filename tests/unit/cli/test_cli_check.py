"""`ipaas check`: what it says, and what it executes to be able to say it."""

from __future__ import annotations

import json
from pathlib import Path

from connectors.kit.descriptions import DESCRIPTIONS
from flows.language.schema import language_schema

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


def test_every_fault_has_its_place_on_its_line_and_in_the_document(ipaas, tmp_path: Path):
    path = tmp_path / "orders.yaml"
    path.write_text(YAML.replace("log.message", "log.massage"))

    outcome = ipaas("check", str(path))
    document = ipaas("check", str(path), "--json")

    message = "steps[0].uses: unknown action 'log.massage'; did you mean 'log.message'?"
    assert (outcome.code, outcome.err) == (1, f"{path}:2:17: {message}\n")
    assert document.code == 1
    assert document.document == [{"file": str(path), "line": 2, "column": 17, "message": message}]


def test_a_secret_in_python_is_found(ipaas, tmp_path: Path):
    (tmp_path / "order.py").write_text(PYTHON + "TOKEN = 'xoxb-' 'abcdefghijklmnop'\n")

    outcome = ipaas("check", str(tmp_path))

    assert outcome.code == 1
    assert "order.py:4:9: this looks like a Slack token in the clear" in outcome.err


def test_the_schema_is_printed(ipaas):
    outcome = ipaas("schema")
    assert (outcome.code, json.loads(outcome.out)) == (0, language_schema(DESCRIPTIONS))
