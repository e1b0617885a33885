"""The command line as a process of its own starts at once."""

import subprocess
import sys


def test_help_imports_neither_prefect_nor_sqlalchemy():
    code = "import sys, ipaas.cli; sys.exit(bool({'prefect', 'sqlalchemy', 'fastapi'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
