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
    """Holds the home for this process; gives the lock's file descriptor.

    The parts inherit it, so that the home is held until the last of them is gone, too. When only parts are left, of a
    platform that was killed, they are about to stop: they are waited for.

    Args:
        patience: how many seconds.

    Raises:
        ConfigurationError: another platform runs in this home.
    """
    path = home / "up.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        end = time.monotonic() + patience
        while not _lock(descriptor):
            owner = _owner(path)
            if (owner is not None and _lives(owner)) or time.monotonic() > end:
                process = f" (process {owner})" if owner is not None else ""
                raise ConfigurationError(
                    f"a platform{process} uses the home {home}: stop it, or choose another with --home or IPAAS_HOME"
                )
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(path: Path) -> int | None:
    """Who holds the lock; None while that process has not yet written who it is."""
    text = path.read_text().strip()
    return int(text) if text.isdecimal() else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
