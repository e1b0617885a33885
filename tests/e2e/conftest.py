"""One running platform for the tests that leave it as it was; the crash tests start their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from platform_process import Platform, Sink, written_for


@pytest.fixture(scope="session")
def shared_sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


@pytest.fixture
def sink(shared_sink: Sink) -> Sink:
    shared_sink.clear()
    return shared_sink


@pytest.fixture(scope="session")
def platform(shared_sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("platform")
    platform = Platform(root / "home", written_for(shared_sink, root / "workflows"))
    try:
        yield platform.start()
    finally:
        platform.stop()


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Callable[[Sink], Platform]]:
    """Makes a platform that the test may break."""
    made: list[Platform] = []

    def make(sink: Sink) -> Platform:
        platform = Platform(tmp_path / "home", written_for(sink, tmp_path / "workflows"))
        made.append(platform)
        return platform

    yield make
    for platform in made:
        platform.stop()
