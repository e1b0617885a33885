"""`ipaas up`: the whole platform on one machine, as processes that are watched and started again when they die."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.platform.environment import Addresses, client_environment, server_environment

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

    from flows.on_prefect.flow import WorkflowFlow

logger = logging.getLogger("ipaas.up")

START_SECONDS = 90.0
"""How long a part may take until it answers; a cold machine compiles Prefect's modules first."""
STOP_SECONDS = 40.0
"""How long a part may take to stop: the worker drains for 30 s."""
MAX_RESTART_SECONDS = 10.0
BEHIND_THE_DOOR = 5
"""The niceness of what runs behind the gateway: a third of its share when both want the processor."""


@dataclass
class Part:
    """One process of the platform."""

    name: str
    argv: Sequence[str]
    environment: dict[str, str]
    health: str | None = None
    """Answers 200 once the part is ready; None: it is ready when it runs."""
    niceness: int = 0
    """Above 0 it gives way when the processor is short: the front door does not wait for what is behind it."""
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def start(self) -> None:
        # A session of its own: Ctrl-C reaches `up` alone, which stops the parts in order.
        self.process = await asyncio.create_subprocess_exec(
            *self.argv, env=self.environment, start_new_session=True, stdin=asyncio.subprocess.DEVNULL
        )
        with contextlib.suppress(ProcessLookupError):  # it ended at once, as `wait_ready` will say
            os.setpriority(os.PRIO_PROCESS, self.process.pid, self.niceness)

    async def wait_ready(self) -> None:
        """Raises ConfigurationError when it ends, or does not answer in time."""
        assert self.process  # noqa: S101 - started before
        if self.health is None:
            return
        async with httpx.AsyncClient(trust_env=False) as client:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_SECONDS):
                    while self.process.returncode is None:
                        with contextlib.suppress(httpx.TransportError):
                            if (await client.get(self.health)).status_code == 200:
                                return
                        await asyncio.sleep(0.1)
        if self.process.returncode is not None:
            raise ConfigurationError(
                f"the {self.name} ended with exit code {self.process.returncode}; see its lines above"
            )
        raise ConfigurationError(f"the {self.name} did not answer at {self.health} within {START_SECONDS:g} s")

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Platform:
    """The three parts: Prefect's server, the gateway and a worker."""

    def __init__(self, settings: Settings, *, host: str, port: int, prefect_port: int) -> None:
        self._settings = settings
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        prefect = f"http://{shown}:{prefect_port}"
        self.addresses = Addresses(
            gateway=settings.public_url or f"http://{shown}:{port}", prefect_api=f"{prefect}/api", prefect_ui=prefect
        )
        local = {"IPAAS_HOME": str(settings.home)}
        client = client_environment(settings, self.addresses) | local
        ipaas = [sys.executable, "-m", "ipaas"]
        self.prefect = Part(
            "Prefect server",
            [sys.executable, "-m", "ipaas.platform.prefect_server"],
            server_environment(settings, host=host, port=prefect_port) | local,
            f"{prefect}/api/health",
            niceness=BEHIND_THE_DOOR,
        )
        self.gateway = Part(
            "gateway",
            [*ipaas, "gateway", "--host", host, "--port", str(port)],
            client,
            f"http://{shown}:{port}/healthz",
        )
        self.worker = Part("worker", [*ipaas, "worker"], client, niceness=BEHIND_THE_DOOR)
        self._watches: list[asyncio.Task[None]] = []

    async def start_prefect(self) -> None:
        await self.prefect.start()
        await self.prefect.wait_ready()
        self._watch(self.prefect)

    async def start_service(self) -> None:
        """The gateway and the worker, side by side."""
        await self.gateway.start()
        await self.worker.start()
        await self.gateway.wait_ready()
        self._watch(self.gateway)
        self._watch(self.worker)
        self.addresses.write(self._settings)

    async def stop(self) -> None:
        """The gateway first, so nothing new is accepted; then the worker drains; Prefect's server last."""
        Addresses.path(self._settings).unlink(missing_ok=True)
        for watch in self._watches:
            watch.cancel()
        for part in (self.gateway, self.worker, self.prefect):
            await part.stop()

    def _watch(self, part: Part) -> None:
        self._watches.append(asyncio.create_task(self._keep_alive(part)))

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
            await part.start()


def check_port(host: str, port: int, *, option: str, what: str) -> None:
    """Raises ConfigurationError when something else listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"can't use {host}:{port} for the {what}: {error.strerror}; choose another with {option}"
            ) from None


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


async def until_stopped() -> None:
    """Returns at Ctrl-C or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    await stopped.wait()


async def run_up(settings: Settings, *, host: str, port: int, prefect_port: int, workflows: Sequence[Path]) -> None:
    """Starts everything, deploys the workflows, and keeps it running until told to stop.

    Raises:
        ConfigurationError: a part does not start.
        DefinitionErrors: a workflow is wrong; nothing is started then.
    """
    platform = Platform(settings, host=host, port=port, prefect_port=prefect_port)
    os.environ |= client_environment(settings, platform.addresses)
    # Prefect is imported from here on, with the settings made above.
    from blocks import Keyring
    from flows.history.migrations import upgrade
    from ipaas.publish import CATALOG, compile_files
    from ipaas.tokens import full_tokens

    Keyring.from_settings(settings)
    full_tokens(settings)
    flows = await asyncio.to_thread(compile_files, workflows or [CATALOG])
    await upgrade(settings.database)
    stopped = asyncio.create_task(until_stopped())
    starting = asyncio.create_task(_start(platform, settings, flows))
    try:
        await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _print_welcome(platform.addresses, settings)
            await stopped
        _say("stopping: what runs may finish, for at most 30 s")
    finally:
        starting.cancel()
        await platform.stop()
    _say("stopped")


async def _start(platform: Platform, settings: Settings, flows: Sequence[WorkflowFlow]) -> None:
    from ipaas.connection import history, prefect
    from ipaas.publish import deploy

    _say("starting Prefect's server and UI …")
    await platform.start_prefect()
    async with prefect() as client, history(settings) as store:
        await register_block_types(client)
        await deploy(client, store, flows)
    _say("starting the gateway and a worker …")
    await platform.start_service()


async def register_block_types(client: PrefectClient) -> None:
    """Shows our credential types among the blocks of Prefect's UI."""
    from blocks import BLOCK_TYPES
    from connectors.kit.registry import load_connectors

    load_connectors()
    for block_type in BLOCK_TYPES.values():
        await block_type.register_type_and_schema(client=client)


def _print_welcome(addresses: Addresses, settings: Settings) -> None:
    hook = f"{addresses.gateway}/hooks/hello"
    _say(
        f"""
prefect-ipaas is running.

  webhooks and API   {addresses.gateway}
  Prefect's UI       {addresses.prefect_ui}
  home               {settings.home}

Send a webhook:

  curl -X POST {hook} -H 'Content-Type: application/json' -d '{{"name": "Ada"}}'

and see it run: {addresses.prefect_ui}/runs
Ctrl-C stops."""
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
