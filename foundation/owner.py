"""Who runs an execution: a process, as `host/pid`, so that its neighbours can tell at once when it is gone."""

from __future__ import annotations

import os
import socket


def _host() -> str:
    """This machine, or the container on it: within it a process id means one process."""
    try:
        return f"{socket.gethostname()}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux: no namespaces
        return socket.gethostname()


THIS_HOST = _host()


def this_process() -> str:
    return f"{THIS_HOST}/{os.getpid()}"


def is_alive(owner: str | None) -> bool:
    """Whether a process of this host lives; one of another host is believed until its lease is over."""
    host, _, pid = (owner or "").rpartition("/")
    if host != THIS_HOST or not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
