"""The home of a platform: made, found writable, and held by one `ipaas up` at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import ConfigurationError
from ipaas.platform.launch import ORPHAN_SECONDS


def prepare_home(home: Path) -> None:
    """Makes the home, readable by its owner only. Raises ConfigurationError when it can't be written."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = home / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"can't write to the home {home}: {error.strerror}; choose another with --home or IPAAS_HOME"
        ) from None


@contextmanager
def hold_home(home: Path, *, patience: float = ORPHAN_SECONDS + 5) -> Iterator[int]:
    """Holds the home for this process; gives a file descriptor for the parts to inherit.

    With it they hold a second lock, until the last of them is gone: when a platform was killed, its parts are about to
    stop, and are waited for.

    Args:
        patience: how many seconds.

    Raises:
        ConfigurationError: another platform runs in this home, or parts of one do not stop.
    """
    instead = f"uses the home {home}: stop it, or choose another with --home or IPAAS_HOME"
    with _opened(home / "up.lock") as mine, _opened(home / "parts.lock") as parts:
        if not _lock(mine):
            raise ConfigurationError(f"a platform (process {os.pread(mine, 20, 0).decode().strip()}) {instead}")
        os.ftruncate(mine, 0)
        os.pwrite(mine, f"{os.getpid()}\n".encode(), 0)
        end = time.monotonic() + patience
        while not _lock(parts):
            if time.monotonic() > end:
                raise ConfigurationError(f"a part of a platform that was killed still {instead}")
            time.sleep(0.1)
        yield parts


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
