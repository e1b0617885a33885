"""The cases of the shipped workflows pass."""

from __future__ import annotations

import pytest

from flows.language.files import find_case_files
from flows.testing.playing import play_file
from ipaas.checking import CATALOG

FILES = list(find_case_files([CATALOG]))


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_they_pass(file, time):
    report = play_file(file, time)
    faults = {played.case.name: played.faults for played in report.played if played.faults}
    assert (report.errors, faults) == ((), {})


def test_every_shipped_workflow_has_some():
    workflows = {path.stem for path in CATALOG.iterdir() if path.suffix in (".yaml", ".py") and path.stem[0] != "_"}
    tested = {file.name.partition(".")[0] for file in FILES}
    assert {stem for stem in workflows if not stem.endswith(".test")} == tested
