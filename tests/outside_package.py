"""A package with a connector, as another process finds it when it is installed: `tests/packages/acme_parcels`."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "packages" / "acme_parcels"


def with_package(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a process in which the package is installed."""
    paths = [str(FOLDER), *filter(None, [environment.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(paths)}
