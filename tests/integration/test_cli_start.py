"""The command line as a process of its own starts at once."""

import subprocess
import sys


def test_help_imports_neither_prefect_nor_sqlalchemy():
    code = "import sys, ipaas.cli; sys.exit(bool({'prefect', 'sqlalchemy', 'fastapi'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_supervisor_of_ipaas_up_stays_small():
    """It lives as long as the platform: what needs these libraries runs in the parts."""
    code = (
        "import sys, ipaas.cli, ipaas.logs, ipaas.platform.home, ipaas.platform.ports, ipaas.platform.up;"
        "sys.exit(' '.join({'prefect', 'sqlalchemy', 'fastapi', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "\n"
