"""What can't be listened on is said before anything starts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_process import free_port

from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.platform.ports import check_ports, check_prefect_host

HERE = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((HERE, 0))
        listener.listen()
        yield listener.getsockname()[1]


def settings(home: Path, **given: Any) -> Settings:
    return Settings(_env_file=None, home=home, **given)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("port", "for the gateway: .*choose another with --port"),
        ("prefect_port", "for the Prefect server: .*choose another with --prefect-port"),
        ("metrics", "for the worker's metrics: .*choose another with IPAAS_WORKER_METRICS_PORT"),
    ],
)
def test_each_port_that_is_taken_is_named(tmp_path: Path, taken: int, what: str, says: str) -> None:
    ports = {name: free_port() for name in ("port", "prefect_port", "metrics")} | {what: taken}
    metrics = ports.pop("metrics")

    with pytest.raises(ConfigurationError, match=f"can't use {HERE}:{taken} {says}"):
        check_ports(settings(tmp_path, worker_metrics_port=metrics), host=HERE, prefect_host=HERE, **ports)


def test_free_ports_are_fine(tmp_path: Path) -> None:
    check_ports(settings(tmp_path), host=HERE, port=free_port(), prefect_host="localhost", prefect_port=free_port())


def test_two_parts_can_not_have_one_port(tmp_path: Path) -> None:
    port = free_port()

    with pytest.raises(ConfigurationError, match=f"Prefect server can't use port {port}, the gateway does"):
        check_ports(settings(tmp_path), host=HERE, port=port, prefect_host=HERE, prefect_port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "prefect.internal"])
def test_prefect_beyond_this_machine_needs_a_password(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--prefect-host {host} opens .* IPAAS_PREFECT_AUTH"):
        check_prefect_host(settings(tmp_path), host, option="--prefect-host")

    check_prefect_host(settings(tmp_path, prefect_auth="ada:s3cret"), host, option="--prefect-host")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_it_needs_none(tmp_path: Path, host: str) -> None:
    check_prefect_host(settings(tmp_path), host, option="--prefect-host")
