"""Where requests arrive, and the table of what the storms measured, shown at the end of `make chaos`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from platform_process import Sink
from storms import Outcome

OUTCOMES = pytest.StashKey[list[Outcome]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTCOMES] = []


@pytest.fixture(scope="session")
def outcomes(pytestconfig: pytest.Config) -> list[Outcome]:
    """Every storm adds its own."""
    return pytestconfig.stash[OUTCOMES]


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash[OUTCOMES]:
        terminalreporter.section("storms")
        for line in Outcome.table(rows):
            terminalreporter.write_line(line)
