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


ORDERS = """
name: orders
triggers:
  - webhook: {auth: {scheme: slack, credential: team}}
  - webhook: {path: b, auth: {scheme: github, credential: team}}
steps:
  - {id: a, uses: log.message, with: {text: x}}
  - {id: b, uses: slack.post_message, credential: c, with: {channel: x, text: y}}
  - {id: c, for_each: event.body, uses: http.request, with: {url: "https://example.org", timeout: 2s}}
"""


def test_a_check_of_yaml_loads_neither_prefect_nor_a_web_framework_nor_sql(tmp_path: Path) -> None:
    (tmp_path / "orders.yaml").write_text(ORDERS)
    assert loaded_by(tmp_path, "check", "orders.yaml") == {"jinja2"}


def test_the_schema_is_printed_without_prefect(tmp_path: Path) -> None:
    assert loaded_by(tmp_path, "schema") == {"jinja2"}


def test_a_check_of_python_executes_it_and_so_loads_prefect(tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text("from flows import workflow\n@workflow()\nasync def mine(event): ...\n")
    loaded = loaded_by(tmp_path, "check", "orders.py")
    assert "prefect" in loaded
    assert not loaded & {"alembic", "fastapi", "uvicorn"}
