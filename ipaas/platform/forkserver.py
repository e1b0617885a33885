"""Makes the parts of `ipaas up` by forks of itself, after it has imported, once, what they have in common.

`python -m ipaas.platform.forkserver FD`, where FD is a socket to the supervisor; `ipaas.platform.processes` is its
other end. A part made so is there in milliseconds rather than seconds, and shares the memory of what was imported. It
is a process like any other: with an environment, a session and signals of its own, killed and started again alone.

A fork is safe because this process does nothing else. It has one thread and no event loop, and nothing that it imports
opens a connection or draws the random numbers that a part would draw again. Prefect's settings are read anew in each
part; Prefect's server, which also uses them while it is imported, is imported by its part alone.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
from importlib import import_module
from typing import Any, Final

from setproctitle import getproctitle, setproctitle

from ipaas.platform import launch

IN_COMMON: Final = (
    "uvloop",
    "uvicorn",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "flows.history.migrations",
    "ipaas.checking",
    "ipaas.publish",
    "ipaas.cli.serving",
    "ipaas.gateway.serve",
    "ipaas.worker.serve",
    "ipaas.platform.sealing",
)
"""Not the modules that are run as the parts themselves: those are read anew by whoever becomes one."""
DESCRIPTORS_AT_MOST: Final = 8
ABOVE_ALL: Final = 100
"""Descriptors wait above this number until each has its place."""

Request = dict[str, Any]


def main() -> None:
    supervisor = socket.socket(fileno=int(sys.argv[1]))
    getproctitle()  # finds where the title is kept by the environment beside it, which a part will change
    gc.disable()  # hardly anything that an import makes is garbage
    for module in IN_COMMON:
        import_module(module)
    gc.collect()
    gc.freeze()  # the parts' garbage collectors touch none of it, and so leave it shared
    if request := _serve(supervisor):
        become(request)


def _serve(supervisor: socket.socket) -> Request | None:
    """Forks at each request: gives it in the new process, and None here once the supervisor has gone."""
    # A service manager sends it to all, and this one goes last. Blocked, not ignored: none is lost between the fork and
    # the moment from which it means something.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    ended, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([supervisor.fileno(), ended], [], [])[0]
        if ended in ready:
            os.read(ended, 4096)
            _report_ended(supervisor)
        if supervisor.fileno() not in ready:
            continue
        request = _receive(supervisor)
        if request is None:
            return None
        if pid := os.fork():
            for descriptor in request["received"]:
                os.close(descriptor)
            # Not reaped before the loop comes round, so the number is still its own.
            descriptor = os.pidfd_open(pid)
            _send(supervisor, {"pid": pid}, descriptor)
            os.close(descriptor)
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        for descriptor in (ended, told):
            os.close(descriptor)
        supervisor.close()
        return request


def become(part: Request) -> None:
    """Turns this process, forked a moment ago, into the part; returns when the part has ended."""
    from prefect.context import refresh_global_settings_context

    gc.enable()
    os.setsid()
    os.environ.clear()
    os.environ.update(part["environment"])
    put_in_place(part["received"], part["descriptors"])
    sys.argv = [launch.__name__, *part["argv"]]
    setproctitle(f"{sys.executable} -m {' '.join(sys.argv)}")  # as if it had been started so
    refresh_global_settings_context()
    launch.main()


def put_in_place(received: list[int], wanted: list[int]) -> None:
    """Gives each descriptor the number that it has in the supervisor. Raises RuntimeError when one is in use here."""
    waiting = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, ABOVE_ALL) for descriptor in received]
    for descriptor in received:
        os.close(descriptor)
    for descriptor, number in zip(waiting, wanted, strict=True):
        if number != sys.__stdin__.fileno() and _is_open(number):  # type: ignore[union-attr]
            raise RuntimeError(f"file descriptor {number} is in use")
        os.dup2(descriptor, number, inheritable=False)
        os.close(descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _receive(supervisor: socket.socket) -> Request | None:
    text, received = b"", list[int]()
    while not text.endswith(b"\n"):
        data, descriptors, _, _ = socket.recv_fds(supervisor, 65_536, DESCRIPTORS_AT_MOST)
        if not data:
            return None
        text += data
        received += descriptors
    return {**json.loads(text), "received": received}


def _report_ended(supervisor: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _send(supervisor, {"pid": pid, "exit_code": os.waitstatus_to_exitcode(status)})


def _send(supervisor: socket.socket, message: dict[str, int], *descriptors: int) -> None:
    try:
        socket.send_fds(supervisor, [json.dumps(message).encode() + b"\n"], descriptors)
    except OSError:  # it is gone: reading will say so
        return


if __name__ == "__main__":
    main()
