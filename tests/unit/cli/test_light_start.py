"""What a command loads. Every one of these modules takes tenths of a second, which people wait for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import sys
from ipaas.cli import main
sys.argv = ["ipaas", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code
unwanted = {"alembic", "fastapi", "httpx", "jinja2", "prefect", "sqlalchemy", "sqlmodel", "starlette", "uvicorn"}
print("LOADED", code or 0, *sorted(unwanted & sys.modules.keys()))
"""


def loaded_by(home: Path, *arguments: str) -> set[str]:
    """Which of the heavy packages a command that succeeds has loaded."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("IPAAS_", "PREFECT_"))}
    command = [sys.executable, "-c", RUN, *arguments]
    environment = clean | {"IPAAS_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home, check=True)
    word, code, *loaded = done.stdout.splitlines()[-1].split()
    assert (word, code) == ("LOADED", "0"), done.stderr
    return set(loaded)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["credentials", "set", "--help"], ["up", "--help"], ["keys", "list"], ["keys", "new"]]
)
def test_what_needs_no_prefect_loads_none_of_it(tmp_path: Path, arguments: list[str]) -> None:
    assert loaded_by(tmp_path, *arguments) == set()


def test_a_check_of_yaml_loads_no_web_framework_and_no_sql(tmp_path: Path) -> None:
    """It knows the actions, which are Prefect tasks: Prefect it does load, and what Prefect loads."""
    (tmp_path / "orders.yaml").write_text("name: orders\nsteps: [{id: a, uses: log.message, with: {text: x}}]\n")
    assert loaded_by(tmp_path, "check", "orders.yaml") <= {"httpx", "jinja2", "prefect", "starlette"}
