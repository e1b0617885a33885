"""Files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path


def keep_files_private() -> None:
    """From now on, what this process (and what it starts) creates is for its owner only, whatever made it."""
    os.umask(0o077)


def write_private_file(path: Path, text: str) -> None:
    """Writes a file of mode 0600, whole or not at all. Raises OSError."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
