"""`ipaas up`: the whole platform on one machine, as processes that are watched and started again when they die.

This process, the supervisor, lives as long as the platform and does little: it imports neither Prefect nor FastAPI nor
SQLAlchemy. What needs them runs in the parts, and in `prepare`. On Linux a further process imports them once, for all
of these: the forkserver.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.platform.environment import Addresses, client_environment, server_environment
from ipaas.platform.own_site import is_every_address, with_port
from ipaas.platform.part import Part
from ipaas.platform.processes import CAN_FORK, Forked, Processes, Started
from ipaas.platform.stopping import StopSignals

logger = logging.getLogger("ipaas.up")

GATEWAY_FIRST_SECONDS: Final = 5.0
"""How long the gateway has to answer its callers before the worker, too, takes nothing more."""
STOP_SECONDS: Final = 45.0
"""How long gateway and worker together may take to stop: both drain for 30 s, and have 5 s for the rest."""
STOP_PREFECT_SECONDS: Final = 10.0
MAX_RESTART_SECONDS: Final = 10.0
BACKGROUND_NICENESS: Final = 5
"""The niceness of what runs behind the gateway: a third of its share when both want the processor."""
STOPPED_AT_ONCE: Final = 130


class PreparationFailed(Exception):
    """`prepare` has said what is wrong. `exit_code` is its."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class Platform:
    """The three parts: Prefect's server, the gateway and a worker; and what prepares their way.

    Args:
        lock: the descriptor that holds the home; the parts hold it, too.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        host: str,
        port: int,
        prefect_host: str,
        prefect_port: int,
        workflows: Sequence[Path],
        lock: int,
    ) -> None:
        self.settings, self._lock = settings, lock
        here, prefect = _url(host, port), _url(prefect_host, prefect_port)
        self.addresses = Addresses(
            gateway=settings.public_url or here, prefect_api=f"{prefect}/api", prefect_ui=prefect
        )
        local = {"IPAAS_HOME": str(settings.home)}
        client = client_environment(settings, self.addresses) | local
        self._processes: Processes = Forked(client) if CAN_FORK else Started()
        self._lifeline, self._held_open = os.pipe()  # nobody writes to it: it ends when this process does
        self._history_is_ready, self._told_ready = os.pipe()
        self.prefect = Part(
            "Prefect server",
            ["ipaas.platform.prefect_server"],
            server_environment(settings, host=prefect_host, port=prefect_port) | local,
            f"{prefect}/api/health",
            niceness=BACKGROUND_NICENESS,
        )
        self.gateway = Part(
            "gateway", ["ipaas", "gateway", "--host", host, "--port", str(port)], client, f"{here}/healthz"
        )
        self.worker = Part("worker", ["ipaas", "worker"], client, niceness=BACKGROUND_NICENESS)
        self.preparation = Part(
            "preparation", ["ipaas.platform.prepare", str(self._told_ready), *map(str, workflows)], client
        )
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when everything is ready.

        Raises:
            PreparationFailed: a workflow is wrong, or the history can't be used.
            ConfigurationError: a part does not start.
        """
        _say("checking the workflows, starting Prefect's server and UI …")
        await self.preparation.start(self._processes, self._lifeline, self._told_ready)
        os.close(self._told_ready)
        await self._start(self.prefect)
        if not await asyncio.to_thread(os.read, self._history_is_ready, 1):
            await self._prepared()
        _say("starting the gateway and a worker …")
        await self._start(self.gateway)
        await self._start(self.worker)
        await asyncio.gather(self.prefect.wait_ready(), self.gateway.wait_ready(), self._prepared())
        self._watches = [
            asyncio.create_task(self._keep_alive(part)) for part in (self.prefect, self.gateway, self.worker)
        ]
        self.addresses.write(self.settings)

    async def stop(self, at_once: asyncio.Event) -> None:
        """The gateway first, so that nothing new is accepted; then the worker drains; Prefect's server last.

        Takes at most STOP_SECONDS and STOP_PREFECT_SECONDS, and no time at all once `at_once` is set.
        """
        Addresses.remove(self.settings)
        for watch in self._watches:
            watch.cancel()
        in_order, hurry = asyncio.create_task(self._stop_in_order()), asyncio.create_task(at_once.wait())
        await asyncio.wait({in_order, hurry}, return_when=asyncio.FIRST_COMPLETED)
        for task in (in_order, hurry):
            task.cancel()
        for part in (self.preparation, self.gateway, self.worker, self.prefect):
            await part.kill()
        await self._processes.close()

    async def _stop_in_order(self) -> None:
        self.preparation.terminate()
        self.gateway.terminate()
        await self.gateway.wait(GATEWAY_FIRST_SECONDS)
        self.worker.terminate()
        both = (self.gateway, self.worker)
        ended = await asyncio.gather(*(part.wait(STOP_SECONDS - GATEWAY_FIRST_SECONDS) for part in both))
        self.prefect.terminate()
        ended.append(await self.prefect.wait(STOP_PREFECT_SECONDS))
        for part, done in zip((*both, self.prefect), ended, strict=True):
            if not done:
                logger.error("the %s does not stop: it is killed", part.name)

    async def _start(self, part: Part) -> None:
        await part.start(self._processes, self._lifeline, self._lock)

    async def _prepared(self) -> None:
        """Returns when the preparation has ended well."""
        assert self.preparation.process  # noqa: S101 - started before
        code = await self.preparation.process.wait()
        if code < 0:
            raise ConfigurationError(f"the preparation was ended by signal {-code}")
        if code:
            raise PreparationFailed(code)

    async def _keep_alive(self, part: Part) -> None:
        pause = 0.2
        while True:
            assert part.process  # noqa: S101 - started before it is watched
            started = asyncio.get_running_loop().time()
            code = await part.process.wait()
            lived = asyncio.get_running_loop().time() - started
            pause = 0.2 if lived > MAX_RESTART_SECONDS else min(2 * pause, MAX_RESTART_SECONDS)
            logger.error("the %s ended with exit code %s, it is started again in %g s", part.name, code, pause)
            await asyncio.sleep(pause)
            await self._start(part)


async def run_up(platform: Platform) -> int:
    """Starts everything, deploys the workflows, and keeps it running until told to stop; gives the exit code.

    Raises:
        ConfigurationError: a part does not start.
    """
    signals = StopSignals()
    stopped = asyncio.create_task(signals.asked.wait())
    starting = asyncio.create_task(platform.start())
    try:
        await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _print_welcome(platform.addresses, platform.settings)
            await stopped
        _say("stopping: what runs may finish, for at most 30 s; Ctrl-C again stops at once")
    except PreparationFailed as failure:
        return failure.exit_code
    finally:
        starting.cancel()
        await platform.stop(signals.again)
    _say("stopped")
    return STOPPED_AT_ONCE if signals.again.is_set() else 0


def _url(host: str, port: int) -> str:
    return f"http://{with_port('127.0.0.1' if is_every_address(host) else host, port)}"


def _print_welcome(addresses: Addresses, settings: Settings) -> None:
    hook = f"{addresses.gateway}/hooks/hello"
    asks = "  (asks for the password of IPAAS_PREFECT_AUTH)" if settings.prefect_auth else ""
    _say(
        f"""
prefect-ipaas is running.

  webhooks and API   {addresses.gateway}
  Prefect's UI       {addresses.prefect_ui}{asks}
  home               {settings.home}

Send a webhook:

  curl -X POST {hook} -H 'Content-Type: application/json' -d '{{"name": "Ada"}}'

and see it run: {addresses.prefect_ui}/runs
Ctrl-C stops."""
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
