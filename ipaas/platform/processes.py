"""How the processes of `ipaas up` are made: forked, where the system lets them be watched; else started."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

logger = logging.getLogger("ipaas.platform.processes")

CAN_FORK: Final = hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal")
"""Linux. Elsewhere a fork of a process with the system's libraries loaded isn't safe, or can't be watched."""
UNKNOWN: Final = 255
"""The exit code of a process whose parent did not live to see it."""


class Process(Protocol):
    """What there is to do with one: `asyncio.subprocess.Process`, or a forked one."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Processes(Protocol):
    """Makes processes."""

    async def start(
        self, argv: Sequence[str], environment: Mapping[str, str], lifeline: int, inherited: Sequence[int]
    ) -> Process:
        """Runs a module as `ipaas.platform.launch` does, in a session of its own: Ctrl-C reaches `up` alone.

        Args:
            lifeline: becomes its standard input.
            inherited: descriptors that it has, too, by the same numbers.
        """
        ...

    async def close(self) -> None:
        """No more are started; those that run go on."""
        ...


class Started:
    """Processes that import everything themselves."""

    async def start(
        self, argv: Sequence[str], environment: Mapping[str, str], lifeline: int, inherited: Sequence[int]
    ) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ipaas.platform.launch", *argv),
            env=environment,
            stdin=lifeline,
            pass_fds=inherited,
            start_new_session=True,
        )

    async def close(self) -> None:
        return


class ForkedProcess:
    """A process that is the forkserver's child, and is watched from here.

    Its number may be another process's once it has ended: signals go to the descriptor, which stays its own.
    """

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid, self._descriptor = pid, descriptor
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def has_ended(self, exit_code: int) -> None:
        if not self._ended.done():
            self._ended.get_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._ended.set_result(exit_code)

    def lose_parent(self) -> None:
        """Its parent will not tell when it ends: its descriptor does."""
        if not self._ended.done():
            self._ended.get_loop().add_reader(self._descriptor, self.has_ended, UNKNOWN)

    def _signal(self, number: signal.Signals) -> None:
        if not self._ended.done():
            signal.pidfd_send_signal(self._descriptor, number)


class Forked:
    """Processes that the forkserver makes. It is started with the first one, and again should it have died; one that it
    can't make is started by itself.

    Args:
        environment: of the forkserver. What its libraries read of it while they are imported holds for all processes.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._forkserver: _Forkserver | None = None
        self._one_at_a_time = asyncio.Lock()

    async def start(
        self, argv: Sequence[str], environment: Mapping[str, str], lifeline: int, inherited: Sequence[int]
    ) -> Process:
        async with self._one_at_a_time:
            if self._forkserver is None or self._forkserver.is_lost:
                self._forkserver = await _Forkserver.start(self._environment)
            request = {"argv": list(argv), "environment": dict(environment), "descriptors": [0, *inherited]}
            if process := await self._forkserver.fork(request, (lifeline, *inherited)):
                return process
        logger.warning("the forkserver has died: %s is started by itself", " ".join(argv[:2]))
        return await Started().start(argv, environment, lifeline, inherited)

    async def close(self) -> None:
        if self._forkserver:
            await self._forkserver.close()


class _Forkserver:
    """A running forkserver, and the connection to it."""

    def __init__(self, process: asyncio.subprocess.Process, connection: socket.socket) -> None:
        self._process, self._connection, self._unread = process, connection, b""
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[ForkedProcess | None] = self._loop.create_future()
        self._running: dict[int, ForkedProcess] = {}
        self._descriptors: list[int] = []
        self.is_lost = False
        self._loop.add_reader(connection, self._read)

    @classmethod
    async def start(cls, environment: Mapping[str, str]) -> _Forkserver:
        ours, its = socket.socketpair()
        with its:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ipaas.platform.forkserver", str(its.fileno())),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(its.fileno(),),
                start_new_session=True,
            )
        return cls(process, ours)

    async def fork(self, request: Mapping[str, object], descriptors: Sequence[int]) -> ForkedProcess | None:
        """The new process; None when the forkserver has died."""
        self._answer = self._loop.create_future()
        with suppress(OSError):  # it has died: reading says so, and answers
            await asyncio.to_thread(self._send, json.dumps(request).encode() + b"\n", descriptors)
        return await self._answer

    def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        sent = socket.send_fds(self._connection, [message], list(descriptors))
        self._connection.sendall(message[sent:])

    async def close(self) -> None:
        if not self.is_lost:
            self._lose()
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def _read(self) -> None:
        with suppress(ConnectionError):
            data, descriptors, _, _ = socket.recv_fds(self._connection, 65_536, 8, socket.MSG_DONTWAIT)
            self._descriptors += descriptors
            if data:
                *lines, self._unread = (self._unread + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
                return
        self._lose()

    def _hear(self, message: Mapping[str, int]) -> None:
        pid = message["pid"]
        if "exit_code" in message:
            self._running.pop(pid).has_ended(message["exit_code"])
            return
        process = self._running[pid] = ForkedProcess(pid, self._descriptors.pop(0))
        if self._answer.done():
            process.kill()  # nobody waits for it any more
        else:
            self._answer.set_result(process)

    def _lose(self) -> None:
        self.is_lost = True
        self._loop.remove_reader(self._connection)
        self._connection.close()
        for process in self._running.values():
            process.lose_parent()
        if not self._answer.done():
            self._answer.set_result(None)
