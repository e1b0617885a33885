"""Who runs an execution: a process, as `host.namespace.boot/pid.started`: its neighbours can tell when it is gone.

A process id alone says little: after a restart of the machine, or a while later, another process has it. So a host is
told apart by its boot as well, and a process by when it started. What is written in any other form (by an earlier
version, on another system) is of a host that is not this one.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STARTED = 19
"""Where `/proc/PID/stat` says when the process started, in ticks since the boot, after the name's closing bracket."""


def _host() -> str:
    """This machine, or the container on it, since it was booted: within it a process id means one process."""
    try:
        return f"{socket.gethostname()}.{os.stat('/proc/self/ns/pid').st_ino}.{_BOOT_ID.read_text().strip()}"
    except OSError:  # not Linux
        return socket.gethostname()


THIS_HOST = _host()


def process(pid: int) -> str | None:
    """This host's process with this id, as an owner; None when there is none."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return f"{THIS_HOST}/{pid}.0" if not Path("/proc/self/stat").exists() and _exists(pid) else None
    except ProcessLookupError:  # it ended while its file was read
        return None
    return None if facts[0] in "ZX" else f"{THIS_HOST}/{pid}.{facts[_STARTED]}"  # Z, X: it has ended


def this_process() -> str:
    return process(os.getpid()) or f"{THIS_HOST}/{os.getpid()}.0"


def is_alive(owner: str | None) -> bool:
    """Whether a process of this host lives; one of another host is believed until its lease is over."""
    host, _, known = (owner or "").rpartition("/")
    pid, _, started = known.partition(".")
    if host != THIS_HOST or not (pid.isdigit() and started.isdigit()):
        return True
    return process(int(pid)) == owner


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
