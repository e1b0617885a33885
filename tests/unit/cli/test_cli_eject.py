"""`ipaas eject`: Python on standard output, faults with their line on standard error."""

from __future__ import annotations

from pathlib import Path

from flows.on_prefect.python_source import load_python_file

YAML = "name: orders\nsteps:\n  - {id: a, uses: log.message, with: {text: x}}\n"


def test_the_python_of_a_workflow_is_written(ipaas, tmp_path: Path):
    (tmp_path / "orders.yaml").write_text(YAML)

    outcome = ipaas("eject", str(tmp_path / "orders.yaml"))

    assert (outcome.code, outcome.err) == (0, "")
    (tmp_path / "orders.py").write_text(outcome.out)
    [flow] = load_python_file(tmp_path / "orders.py")
    assert flow.name == "orders"


def test_what_can_not_be_written_is_refused_with_its_line(ipaas, tmp_path: Path):
    path = tmp_path / "orders.yaml"
    path.write_text(f"{YAML}respond: {{when: finished, body: '{{{{ steps.a.output }}}}'}}\n")

    outcome = ipaas("eject", str(path))

    assert (outcome.code, outcome.out) == (1, "")
    assert f"{path}:4:1: steps and vars" in outcome.err
