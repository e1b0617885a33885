"""pytest loads the plugin in every run of whoever has the package, so it has to be light."""

from __future__ import annotations

import subprocess
import sys

LOAD = """
import sys, flows.testing.plugin
print(*{"httpx", "jinja2", "prefect", "respx", "sqlalchemy"} & sys.modules.keys())
"""


def test_it_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
