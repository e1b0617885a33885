"""`ipaas up`, and its parts one by one: `server`, `gateway`, `worker`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from foundation.private_files import keep_files_private
from ipaas.cli.session import read_settings

serving = typer.Typer()

Host = Annotated[str, typer.Option(help="The address the gateway listens on.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The gateway's port.")]
PrefectHost = Annotated[
    str, typer.Option(help="The address Prefect's server listens on; needs IPAAS_PREFECT_AUTH unless it is loopback.")
]
PrefectPort = Annotated[int, typer.Option(min=1, max=65535, help="The port of Prefect's server and UI.")]


@serving.command()
def up(
    host: Host = "127.0.0.1",
    port: Port = 8080,
    prefect_host: PrefectHost = "127.0.0.1",
    prefect_port: PrefectPort = 4200,
    home: Annotated[Path | None, typer.Option(help="Where files are kept; default: IPAAS_HOME.")] = None,
    workflows: Annotated[
        list[Path] | None, typer.Option(help="Files and folders to deploy; repeatable. Default: the shipped workflows.")
    ] = None,
) -> None:
    """Everything on this machine: Prefect's server and UI, the gateway, a worker, SQLite. Ctrl-C drains and stops."""
    from ipaas.logs import set_up_logging
    from ipaas.platform.home import hold_home, prepare_home
    from ipaas.platform.ports import check_ports, check_prefect_host
    from ipaas.platform.up import Platform, run_up

    if home is not None:
        os.environ["IPAAS_HOME"] = str(home.expanduser().absolute())
    keep_files_private()
    settings = read_settings()
    set_up_logging(settings)
    check_prefect_host(settings, prefect_host, option="--prefect-host")
    prepare_home(settings.home)
    with hold_home(settings.home) as lock:
        check_ports(settings, host=host, port=port, prefect_host=prefect_host, prefect_port=prefect_port)
        platform = Platform(
            settings,
            host=host,
            port=port,
            prefect_host=prefect_host,
            prefect_port=prefect_port,
            workflows=workflows or [],
            lock=lock,
        )
        code = asyncio.run(run_up(platform))
    raise typer.Exit(code)


@serving.command()
def server(host: PrefectHost = "127.0.0.1", port: PrefectPort = 4200) -> None:
    """Prefect's server and UI, with the settings that hold under load."""
    from ipaas.platform.environment import server_environment
    from ipaas.platform.home import prepare_home
    from ipaas.platform.ports import check_port, check_prefect_host

    keep_files_private()
    settings = read_settings()
    check_prefect_host(settings, host, option="--host")
    prepare_home(settings.home)
    check_port(host, port, option="--port", what="Prefect server")
    environment = server_environment(settings, host=host, port=port)
    os.execve(sys.executable, [sys.executable, "-m", "ipaas.platform.prefect_server"], environment)  # noqa: S606 - our own module


@serving.command()
def gateway(host: Host = "127.0.0.1", port: Port = 8080) -> None:
    """The webhooks and the management API. Any number may run side by side on one database."""
    from ipaas.platform.environment import use_running_platform

    keep_files_private()
    settings = read_settings()
    use_running_platform(settings)
    from ipaas.gateway.serve import serve
    from ipaas.platform.ports import check_port

    check_port(host, port, option="--port", what="gateway")
    serve(settings, host=host, port=port)


@serving.command()
def worker(
    name: Annotated[str | None, typer.Option(help="As shown in Prefect's UI; default: host and process id.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The most executions this worker runs at once.")] = None,
) -> None:
    """Runs executions in this process. Any number may run, on any number of machines."""
    from ipaas.platform.environment import use_running_platform

    keep_files_private()
    settings = read_settings()
    use_running_platform(settings)
    from ipaas.worker.serve import work

    work(settings, name=name, limit=limit)
