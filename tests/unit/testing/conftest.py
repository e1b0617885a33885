"""Cases in files, played."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from flows.testing.playing import Played, play_file
from flows.testing.virtual_time import VirtualTime


@pytest.fixture
def time() -> Iterator[VirtualTime]:
    with VirtualTime() as time:
        yield time


Play = Callable[[str, str], Sequence[Played]]


@pytest.fixture
def play(tmp_path: Path, time: VirtualTime) -> Play:
    """Plays these cases of this workflow, both YAML."""

    def played(workflow: str, cases: str) -> Sequence[Played]:
        (tmp_path / "w.yaml").write_text(workflow)
        file = tmp_path / "w.test.yaml"
        file.write_text(cases)
        report = play_file(file, time)
        assert report.errors == ()
        return report.played

    return played
