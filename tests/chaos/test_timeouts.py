"""A timeout is of the execution, not of each attempt to run it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from platform_process import Platform, Sink, eventually

WORKFLOW = """
name: twenty-seconds
triggers: [{webhook: {auth: none}}]
timeout: 20s
steps:
  - {id: slow, uses: http.request, with: {method: POST, url: "http://sink/slow", json: {}, timeout: 120s}}
"""


@pytest.fixture
def platform(sink: Sink, tmp_path: Path) -> Iterator[Platform]:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "twenty.yaml").write_text(WORKFLOW.replace("http://sink", sink.url))
    platform = Platform(tmp_path / "home", tmp_path / "workflows")
    yield platform.start()
    sink.release.set()
    platform.stop()


def test_twenty_seconds_stay_twenty_seconds_over_two_kills(platform: Platform, sink: Sink) -> None:
    execution_id = platform.send("twenty-seconds", {})
    for times in (1, 2):
        eventually(lambda times=times: len(sink.bodies("/slow")) == times, 60, "the step runs")
        platform.kill("worker")

    execution = platform.ended(execution_id, 120)

    assert execution["status"] == "timed_out"
    assert len(sink.bodies("/slow")) == 3
    begun, ended = (datetime.fromisoformat(execution[name]) for name in ("started_at", "finished_at"))
    # Nobody ran it while its worker was being replaced, which a busy machine stretches; not to three times 20 s.
    assert (ended - begun).total_seconds() < 55
