"""The environment that Prefect's parts are started in, and where the running platform leaves its addresses.

Prefect reads its settings when it is imported, so this module imports nothing of it: it is for what comes before.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import BaseModel

from foundation.errors import ConfigurationError
from foundation.private_files import write_private_file
from foundation.settings import Settings
from ipaas.platform.own_site import own_hosts, own_origins

PREFECT_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",  # the same for its client, which would also print a notice on a terminal
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    # Task runs are written in batches: a third less work for the server (Prefect writes them one by one).
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # Slots taken by runs are still known after a restart of the server (Prefect keeps them in memory).
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # A run that found no slot tries again after 2 s (Prefect: 30 s).
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
    # Writers that wait for one another must not take the connections that readers need (Prefect: 5 and 10 more).
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "20",
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "40",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": '["events","flow_runs"]',
}


class Addresses(BaseModel):
    """Where the parts of a running platform answer, as `ipaas up` left it in `IPAAS_HOME/addresses.json`."""

    gateway: str
    prefect_api: str
    prefect_ui: str

    @classmethod
    def path(cls, settings: Settings) -> Path:
        return settings.home / "addresses.json"

    @classmethod
    def read(cls, settings: Settings) -> Addresses | None:
        """None when nothing runs there. Raises ConfigurationError when the file can't be read."""
        path = cls.path(settings)
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"can't read {path}: {error.strerror}") from None
        except ValueError:
            raise ConfigurationError(f"{path} is broken: remove it, and start `ipaas up` again") from None

    def write(self, settings: Settings) -> None:
        """Leaves them in the home, and beside them the password for Prefect, if it has one, for its owner only."""
        if settings.prefect_auth:
            write_private_file(settings.prefect_auth_file, settings.prefect_auth.get_secret_value() + "\n")
        write_private_file(self.path(settings), json.dumps(self.model_dump(), indent=2) + "\n")

    @classmethod
    def remove(cls, settings: Settings) -> None:
        cls.path(settings).unlink(missing_ok=True)
        settings.prefect_auth_file.unlink(missing_ok=True)


def use_running_platform(settings: Settings) -> None:
    """Points this process at the platform running in the home, unless the environment names a Prefect already."""
    _set_defaults(PREFECT_DEFAULTS | {"PREFECT_HOME": str(settings.home / "prefect")})
    if settings.prefect_auth:
        _set_defaults({"PREFECT_API_AUTH_STRING": settings.prefect_auth.get_secret_value()})
    if addresses := Addresses.read(settings):
        _set_defaults({"PREFECT_API_URL": addresses.prefect_api})
        if os.environ["PREFECT_API_URL"] == addresses.prefect_api:  # the password is for no other Prefect
            _set_defaults(_auth_of_home(settings))


def _auth_of_home(settings: Settings) -> dict[str, str]:
    """Raises ConfigurationError when the file can't be read."""
    try:
        return {"PREFECT_API_AUTH_STRING": settings.prefect_auth_file.read_text().strip()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"can't read {settings.prefect_auth_file}: {error.strerror}") from None


def client_environment(settings: Settings, addresses: Addresses) -> dict[str, str]:
    """The environment for the gateway and the worker of `ipaas up`."""
    defaults = PREFECT_DEFAULTS | {"PREFECT_HOME": str(settings.home / "prefect")}
    where = {
        "PREFECT_API_URL": addresses.prefect_api,
        "IPAAS_PREFECT_UI_URL": addresses.prefect_ui,
        "IPAAS_GATEWAY_URL": addresses.gateway,
    }
    if settings.prefect_auth:
        where["PREFECT_API_AUTH_STRING"] = settings.prefect_auth.get_secret_value()
    return defaults | os.environ | where


def server_environment(settings: Settings, *, host: str, port: int) -> dict[str, str]:
    """The environment of Prefect's server. What the operator has set wins over our defaults."""
    defaults = PREFECT_DEFAULTS | {
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{settings.home / 'prefect.db'}",
        "PREFECT_UI_API_URL": "/api",
        # Prefect writes its UI's files at the first start; by default into the installed package.
        "PREFECT_UI_STATIC_DIRECTORY": str(settings.home / "prefect" / "ui"),
        # No "*": who may not ask gets no permission either. Who may ask is decided by `own_site`, whatever is set here.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(own_origins(prefect_hosts(settings, host=host, port=port))),
    }
    where = {"PREFECT_SERVER_API_HOST": host, "PREFECT_SERVER_API_PORT": str(port)}
    if settings.prefect_auth:
        where["PREFECT_SERVER_API_AUTH_STRING"] = settings.prefect_auth.get_secret_value()
    return defaults | _retention(settings) | os.environ | where


def prefect_hosts(settings: Settings, *, host: str, port: int) -> frozenset[str]:
    """What Prefect's server may be called: where it listens, and wherever the settings say that it is found."""
    urls = (settings.prefect_ui_url, os.environ.get("PREFECT_API_URL"), os.environ.get("PREFECT_UI_API_URL"))
    return own_hosts(host, port, settings.prefect_hosts, urls)


def _retention(settings: Settings) -> dict[str, str]:
    """Prefect keeps flow runs, with their tasks and logs, as long as the history keeps executions; at least a day."""
    kept = max(settings.retention, 86_400)
    events = min(kept, 7 * 86_400)  # Prefect's own default: many rows for each run, and only its feed shows them
    return {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"PT{kept:.0f}S",
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{events:.0f}S",
    }


def _set_defaults(values: dict[str, str]) -> None:
    for name, value in values.items():
        os.environ.setdefault(name, value)
