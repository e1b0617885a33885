"""What an action sees of the execution that calls it, and who runs it.

An action is written as a plain async function; everything it needs beyond its arguments comes from the `Call` it runs
in: the pooled HTTP client, its credential, the idempotency key. Whoever runs actions (the engine in a Prefect flow
run, `ipaas run --local`, a test) sets a `StepRunner`; the action itself never knows which.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import httpx

from connectors.kit.circuit import Circuits
from connectors.kit.retry import RetryPolicy
from foundation.clock import Clock
from foundation.masking import Masker
from foundation.settings import ConnectorSettings

if TYPE_CHECKING:
    from blocks.credential import Credential

C = TypeVar("C", bound="Credential")


class CredentialSource(Protocol):
    """Where credentials come from: Prefect blocks, or a dict in tests."""

    async def get(self, name: str, kind: type[C]) -> C:
        """The credential called `name`, opened (its secrets readable).

        Raises:
            CredentialError: it does not exist, is of another type, or can't be opened; the message says what to do.
        """
        ...


@dataclass(frozen=True)
class Services:
    """What every action of a process shares."""

    http: httpx.AsyncClient
    credentials: CredentialSource
    clock: Clock
    masker: Masker
    render: Callable[[str, Mapping[str, Any]], Any]
    """Renders a template string in the hardened sandbox: for `transform.template`."""
    connectors: Mapping[str, ConnectorSettings] = field(default_factory=dict)
    circuits: Circuits = field(default_factory=Circuits)

    def base_url(self, connector: str, default: str) -> str:
        """Where the connector's API lives: the operator's setting, else the vendor's own. Without a trailing slash."""
        configured = self.connectors.get(connector)
        return ((configured and configured.base_url) or default).rstrip("/")


@dataclass(frozen=True)
class Call:
    """One attempt of one step."""

    services: Services
    execution_id: str
    path: str
    """The step's path in its execution: `notify`, inside loops `lines[3].reserve`."""
    attempt: int = 1
    logger: logging.Logger | logging.LoggerAdapter[Any] = field(default_factory=lambda: logging.getLogger("ipaas.step"))
    retry_declared: bool = False
    """The workflow says itself how this step is retried; the connector's own retries stay out of it."""
    repeats: list[str] = field(default_factory=list)
    """One line for each request the connector's own retries sent again; each counts as an attempt of the step."""
    wrote_host: Callable[[str], bool] = lambda host: True
    """Whether the author wrote this `host:port` himself, as opposed to its coming from data.

    Asked only when the address is not public.
    """

    @property
    def idempotency_key(self) -> str:
        """The same over retries, restarts and replays from a later step: `<execution id>:<path>`."""
        return f"{self.execution_id}:{self.path}"


@dataclass(frozen=True)
class StepOptions:
    """What a Python workflow says of one call beyond its arguments: YAML's `id`, `retry` and `timeout`."""

    id: str | None = None
    retry: RetryPolicy | None = None
    timeout: float | None = None


class Called(Protocol):
    """What is known of an action here; `connectors.kit.action.Action` has it."""

    @property
    def action_name(self) -> str:
        """`slack.post_message`"""
        ...

    @property
    def step_options(self) -> StepOptions: ...


class StepRunner(Protocol):
    async def run(self, action: Called, arguments: dict[str, Any], body: Callable[[], Awaitable[Any]]) -> Any:
        """Runs `body`, one call of `action`, as a step: recorded, retried, timed; returns its (masked) result."""
        ...


current_call: ContextVar[Call] = ContextVar("current_call")
current_runner: ContextVar[StepRunner] = ContextVar("current_runner")
