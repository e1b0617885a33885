"""One process of `ipaas up`: started, asked whether it is ready, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from foundation.errors import ConfigurationError
from ipaas.platform.processes import Process, Processes

START_SECONDS: Final = 120.0
"""How long a part may take until it answers; a cold machine compiles Prefect's modules first, for all parts at once."""


@dataclass
class Part:
    """A module that is run as a process of its own."""

    name: str
    argv: Sequence[str]
    """The module and its arguments."""
    environment: dict[str, str]
    health: str | None = None
    """Answers 200 once the part is ready; None: it is ready when it runs."""
    niceness: int = 0
    """Above 0 it gives way when the processor is short: the front door does not wait for what is behind it."""
    process: Process | None = field(default=None, init=False)

    async def start(self, processes: Processes, lifeline: int, *inherited: int) -> None:
        """Starts it; it stops when `lifeline`, a pipe's end for reading, comes to its end."""
        self.process = await processes.start(self.argv, self.environment, lifeline, inherited)
        with contextlib.suppress(ProcessLookupError):  # it ended at once, as `wait_ready` will say
            os.setpriority(os.PRIO_PROCESS, self.process.pid, self.niceness)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def wait_ready(self) -> None:
        """Raises ConfigurationError when it ends, or does not answer in time."""
        assert self.process  # noqa: S101 - started before
        if self.health is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                while self.runs:
                    if await _answers(self.health):
                        return
                    await asyncio.sleep(0.1)
        if not self.runs:
            raise ConfigurationError(
                f"the {self.name} ended with exit code {self.process.returncode}; see its lines above"
            )
        raise ConfigurationError(f"the {self.name} did not answer at {self.health} within {START_SECONDS:g} s")

    def terminate(self) -> None:
        """Asks it to stop, if it runs."""
        if self.process and self.runs:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()

    async def wait(self, seconds: float) -> bool:
        """Whether it has ended within so many seconds."""
        if self.process and self.runs:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), seconds)
        return not self.runs

    async def kill(self) -> None:
        """Ends it at once, if it runs."""
        if self.process and self.runs:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


async def _answers(url: str) -> bool:
    """Whether a GET is answered with 200. Speaks HTTP itself: no library for it is small."""
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return False
    try:
        writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(5):
            status = await reader.readline()
        return status.split(b" ")[1:2] == [b"200"]
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
