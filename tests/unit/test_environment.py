"""What Prefect makes of the environment that its server is started with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from prefect.settings import Settings as PrefectSettings

from foundation.settings import Settings
from ipaas.platform.environment import server_environment


@pytest.mark.parametrize(
    ("retention", "runs", "events"),
    [
        (None, timedelta(days=30), timedelta(days=7)),
        ("90d", timedelta(days=90), timedelta(days=7)),
        ("3d", timedelta(days=3), timedelta(days=3)),
        ("10m", timedelta(days=1), timedelta(days=1)),
    ],
)
def test_prefect_keeps_its_runs_as_long_as_we_keep_executions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retention: str | None, runs: timedelta, events: timedelta
) -> None:
    if retention:
        monkeypatch.setenv("IPAAS_RETENTION", retention)
    for name, value in server_environment(Settings(home=tmp_path), host="127.0.0.1", port=4200).items():
        monkeypatch.setenv(name, value)

    server = PrefectSettings().server

    assert server.services.db_vacuum.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert (server.services.db_vacuum.retention_period, server.events.retention_period) == (runs, events)


def test_what_the_operator_set_for_prefect_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD", "7200")

    environment = server_environment(Settings(home=tmp_path), host="127.0.0.1", port=4200)

    assert environment["PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"] == "7200"
