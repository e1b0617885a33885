"""Every scenario, in YAML, in Python, and in the Python that `ipaas eject` makes of the YAML, does the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from in_order import IN_ORDER
from loops import LOOPS
from scenario import Case, Scenario, check, ejected
from values import VALUES
from waiting import WAITING

SCENARIOS = [*IN_ORDER, *LOOPS, *VALUES]
FORMS = [
    pytest.param(scenario, case, form, id=f"{scenario.name}-{number}-{form}".replace(" ", "_"))
    for scenario in SCENARIOS
    for number, case in enumerate(scenario.cases, start=1)
    for form in ("yaml", "python", "ejected")
    if form != "python" or scenario.python
]


@pytest.mark.parametrize(("scenario", "case", "form"), FORMS)
async def test_it_does_the_same_in_every_form(scenario: Scenario, case: Case, form: str, tmp_path: Path) -> None:
    await check(scenario, case, form, tmp_path)


def test_there_are_enough_of_them() -> None:
    assert len(FORMS) >= 150
    assert len([form for form in FORMS if form.id and form.id.endswith("-python")]) >= 40


def test_ejected_code_is_formatted_as_ruff_does(tmp_path: Path) -> None:
    for number, scenario in enumerate([*SCENARIOS, *WAITING]):
        (tmp_path / f"workflow_{number}.py").write_text(ejected(scenario.yaml), encoding="utf-8")

    for width in ("88", "120"):
        command = [
            sys.executable,
            "-m",
            "ruff",
            "format",
            "--isolated",
            "--diff",
            "--line-length",
            width,
            str(tmp_path),
        ]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.stdout == ""
