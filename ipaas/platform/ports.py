"""Whether a part can listen where it is told to."""

from __future__ import annotations

import socket

from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.platform.own_site import is_loopback


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


def check_ports(settings: Settings, *, host: str, port: int, prefect_host: str, prefect_port: int) -> None:
    """The ports of `ipaas up`, each free and no two the same. Raises ConfigurationError."""
    wanted = [(host, port, "--port", "gateway"), (prefect_host, prefect_port, "--prefect-port", "Prefect server")]
    if settings.worker_metrics_port is not None:
        metrics = (settings.worker_metrics_host, settings.worker_metrics_port)
        wanted.append((*metrics, "IPAAS_WORKER_METRICS_PORT", "worker's metrics"))
    taken: dict[int, str] = {}
    for host_, port_, option, what in wanted:
        if port_ in taken:
            raise ConfigurationError(
                f"the {what} can't use port {port_}, the {taken[port_]} does; choose with {option}"
            )
        check_port(host_, port_, option=option, what=what)
        taken[port_] = what


def check_prefect_host(settings: Settings, host: str, *, option: str) -> None:
    """Raises ConfigurationError when others could use Prefect's API without being asked who they are."""
    if not is_loopback(host) and settings.prefect_auth is None:
        raise ConfigurationError(
            f"{option} {host} opens Prefect's API, which can change every workflow, to whoever reaches this machine: "
            "set IPAAS_PREFECT_AUTH to user:password, or leave it on 127.0.0.1"
        )
