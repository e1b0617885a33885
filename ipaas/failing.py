"""How a process says that it can't go on: on standard error, in words for the person who must act."""

from __future__ import annotations

import sys

from foundation.errors import DefinitionError
from foundation.printable import printable


def fail(error: Exception) -> None:
    """Says what is wrong on standard error; a workflow's faults as `file:line:column: message`, one a line."""
    if isinstance(error, DefinitionError):
        text = "\n".join(map(printable, str(error).split("\n")))
    else:
        text = printable(f"ipaas: {' '.join(str(error).split())}")
    sys.stderr.write(text + "\n")
