"""The pytest plugin: the fixture `ipaas`, on which a test runs workflows. See docs/how-to/test-a-workflow.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flows.testing.bench import Bench
    from flows.testing.programs import Programs
    from flows.testing.virtual_time import VirtualTime


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "ipaas_workflows",
        "Folders in which the fixture `ipaas` looks for a workflow that is given by its name; default: all of them.",
        type="paths",
        default=[],
    )


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Why an execution or a step ended as it did, where a test compares its status."""
    why = getattr(left, "why", None) or getattr(right, "why", None)
    return [f"{left!r} {op} {right!r}", f"because of: {why}"] if isinstance(why, str) else None


@pytest.fixture(scope="session")
def _ipaas_time() -> Iterator[VirtualTime]:
    from flows.testing.virtual_time import VirtualTime

    with VirtualTime() as time:
        yield time


@pytest.fixture(scope="session")
def _ipaas_programs(pytestconfig: pytest.Config) -> Programs:
    from flows.testing.programs import Programs

    return Programs(pytestconfig.getini("ipaas_workflows") or [pytestconfig.rootpath])


@pytest.fixture
def ipaas(_ipaas_time: VirtualTime, _ipaas_programs: Programs) -> Bench:
    """Runs workflows in memory: `ipaas.run("order-confirmed", {"amount": 12})`."""
    from flows.testing.bench import Bench

    return Bench(_ipaas_time, _ipaas_programs)
