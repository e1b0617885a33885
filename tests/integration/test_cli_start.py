"""The command line as a process of its own starts at once."""

import subprocess
import sys
from importlib.metadata import version


def imported(code: str, *libraries: str) -> str:
    """Those of the libraries that are there after the code was run in a process of its own."""
    code = f"import sys; {code}; sys.stdout.write(' '.join(sorted({set(libraries)} & set(sys.modules))))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_help_needs_no_library_but_the_command_lines():
    assert imported("import ipaas.cli", "prefect", "sqlalchemy", "fastapi", "pydantic", "httpx") == ""


def test_commands_that_read_the_history_need_no_prefect():
    code = "import ipaas.cli, ipaas.connection, ipaas.views, flows.history.sql"
    assert imported(code, "prefect", "fastapi", "httpx", "connectors.kit.registry") == ""


def test_the_version_is_said_by_the_command_and_by_the_module():
    done = subprocess.run([sys.executable, "-m", "ipaas", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"prefect-ipaas {version('prefect-ipaas')}, Prefect {version('prefect')}\n"


def test_the_supervisor_of_ipaas_up_stays_small():
    """It lives as long as the platform: what needs these libraries runs in the parts."""
    code = (
        "import sys, ipaas.cli, ipaas.logs, ipaas.platform.home, ipaas.platform.ports, ipaas.platform.up;"
        "sys.exit(' '.join({'prefect', 'sqlalchemy', 'fastapi', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "\n"
