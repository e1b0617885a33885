"""docs/how-to/test-a-workflow.md: its cases pass, and so do its pytest tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.testing.bench import Bench
from flows.testing.playing import play_file
from flows.testing.programs import Programs

PAGE = (Path(__file__).parents[3] / "docs/how-to/test-a-workflow.md").read_text(encoding="utf-8")


def fenced(kind: str) -> str:
    found: list[str] = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found[0]


TESTS: dict[str, object] = {}
exec(compile(fenced("python test"), "test-a-workflow.md", "exec"), TESTS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "order-paid.yaml").write_text(fenced("yaml workflow"))
    (tmp_path / "order-paid.test.yaml").write_text(fenced("yaml cases"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_cases_pass(folder, time):
    report = play_file(folder / "order-paid.test.yaml", time)
    faults = {played.case.name: played.faults for played in report.played if played.faults}
    assert (report.errors, faults, len(report.played)) == ((), {}, 6)


def test_a_failing_one_prints_what_the_page_shows(folder, time):
    file = folder / "order-paid.test.yaml"
    file.write_text(file.read_text().replace("Order 7: 3 left", "Order 7: 3 are left", 1))
    [fault] = play_file(file, time).played[0].faults
    said = "\n".join([f"{fault.place}  (order-paid.test.yaml:{fault.line})", *(f"  {line}" for line in fault.said)])
    [shown] = re.findall(r"is left\n((?: {12}.+\n)+)```", PAGE)
    assert re.sub("^ {12}", "", shown, flags=re.MULTILINE).rstrip() == said


@pytest.mark.parametrize("name", [name for name in TESTS if name.startswith("test_")])
def test_its_tests_pass(folder, time, name):
    TESTS[name](Bench(time, Programs([folder])))
