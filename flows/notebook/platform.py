"""The running platform, as a notebook reaches it: over HTTP, at the address that the settings or the home name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.settings import PREFECT_API_URL

from flows.history import WorkflowVersion, open_store
from flows.on_prefect.deployment import deploy_version
from foundation.errors import ConfigurationError, IpaasError, NotFound
from foundation.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Platform:
    """The gateway's URL, and the token of its management API."""

    gateway: str
    token: str = field(repr=False)

    @classmethod
    def find(cls, settings: Settings) -> Platform:
        """The one that runs in the home, or that the settings name.

        Raises:
            ConfigurationError: there is none, or it has no token that may be read.
        """
        gateway = _addresses(settings).get("gateway") or settings.public_url
        token = settings.api_token.get_secret_value() if settings.api_token else _read(settings.token_file)
        if not gateway:
            raise ConfigurationError(
                "no platform is known: start one with `ipaas up`, or set IPAAS_PUBLIC_URL and IPAAS_API_TOKEN"
            )
        if not token:
            raise ConfigurationError(f"no token for {gateway}/api: set IPAAS_API_TOKEN")
        return cls(gateway, token)

    async def version_of(self, workflow: str) -> str | None:
        """Its current version there; None: it is not deployed."""
        try:
            return str((await self._ask("GET", f"/workflows/{workflow}"))["version"])
        except NotFound:
            return None

    async def start(self, workflow: str, body: Any) -> str:
        """Starts an execution by hand; its id."""
        return str((await self._ask("POST", f"/workflows/{workflow}/executions", body))["execution_id"])

    async def execution(self, execution_id: str) -> dict[str, Any]:
        """As the API gives it."""
        found: dict[str, Any] = await self._ask("GET", f"/executions/{execution_id}")
        return found

    async def executions(self, workflow: str, limit: int) -> list[dict[str, Any]]:
        """The newest ones first."""
        found = await self._ask("GET", f"/executions?workflow={workflow}&limit={limit}")
        items: list[dict[str, Any]] = found["items"]
        return items

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """
        Raises:
            NotFound: there is no such thing there.
            IpaasError: the platform does not answer, or refuses, with what it says.
        """
        headers = {"Authorization": f"Bearer {self.token}"}
        content = json.dumps(body).encode() if method == "POST" else None
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with httpx.AsyncClient(timeout=10) as http:
                answer = await http.request(method, f"{self.gateway}/api{path}", headers=headers, content=content)
        except httpx.HTTPError as error:
            raise IpaasError(f"the platform at {self.gateway} does not answer: {type(error).__name__}") from None
        if answer.is_success:
            return answer.json()
        said = _detail(answer)
        raise NotFound(said) if answer.status_code == 404 else IpaasError(f"the platform says {said}")


async def deploy(version: WorkflowVersion, settings: Settings) -> None:
    """Publishes a version and makes its Prefect deployment, as `ipaas deploy` does.

    Raises:
        ConfigurationError, StorageUnavailable: there is no platform, or its history can't be used.
    """
    async with prefect() as client:
        store = open_store(settings.database)
        await store.open()
        try:
            await deploy_version(client, store, version)
        except httpx.HTTPError as error:
            raise IpaasError(f"Prefect's API at {client.api_url} does not answer: {type(error).__name__}") from None
        finally:
            await store.close()


@asynccontextmanager
async def prefect() -> AsyncIterator[PrefectClient]:
    """A client of the Prefect that runs in the home, or that the environment names.

    Raises ConfigurationError when there is none.
    """
    settings = Settings()
    url = _addresses(settings).get("prefect_api") or PREFECT_API_URL.value()
    if not url:
        raise ConfigurationError("no Prefect server is known: start the platform with `ipaas up`")
    password = settings.prefect_auth.get_secret_value() if settings.prefect_auth else _read(settings.prefect_auth_file)
    async with PrefectClient(url, auth_string=password) as client:
        yield client


def now(work: Coroutine[Any, Any, T]) -> T:
    """Does it while the caller waits, who is in the notebook's own event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _addresses(settings: Settings) -> Mapping[str, str]:
    """Where the parts of the platform in the home answer; empty when none runs there."""
    path = settings.home / "addresses.json"
    try:
        addresses: dict[str, str] = json.loads(_read(path) or "{}")
    except ValueError:
        raise ConfigurationError(f"{path} is broken: remove it, and start `ipaas up` again") from None
    return addresses


def _read(path: Path) -> str | None:
    """Raises ConfigurationError when it is there and can't be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from None


def _detail(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        faults = "".join(f"; {one['path']}: {one['message']}" for one in problem.get("errors", ()))
        return f"{answer.status_code}: {problem['detail']}{faults}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{answer.status_code}"
