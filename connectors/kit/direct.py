"""Runs actions without a workflow: in plain scripts and in tests. Nothing is recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from blocks.source import PrefectCredentials
from blocks.token_state import MemoryTokens
from connectors.kit.attempts import run_attempts
from connectors.kit.call import Call, Called, Services
from connectors.kit.http_client import new_client
from connectors.kit.retry import RetryPolicy
from connectors.kit.usable_credentials import usable_credentials
from foundation.clock import SystemClock
from foundation.errors import ActionError
from foundation.masking import process_masker
from foundation.settings import Settings


class DirectRunner:
    """The `StepRunner` that runs each action on the spot, as a step named after it.

    Args:
        execution_id: part of every idempotency key; None: another one for each call, so that equal calls stay apart.
        policy: the retries that a step would declare.
        timeout: seconds for each attempt.
    """

    def __init__(
        self,
        services: Services,
        *,
        execution_id: str | None = None,
        policy: RetryPolicy | None = None,
        timeout: float | None = None,
    ) -> None:
        self.services = services
        self._execution_id, self._policy, self._timeout = execution_id, policy, timeout

    async def run(self, action: Called, arguments: dict[str, Any], body: Callable[[], Awaitable[Any]]) -> Any:
        call = Call(self.services, self._execution_id or str(uuid4()), path=action.action_name)
        result, _ = await run_attempts(action.action_name, body, call=call, policy=self._policy, timeout=self._timeout)
        return result


@asynccontextmanager
async def script_runner() -> AsyncIterator[DirectRunner]:
    """A runner for one call in a plain script: credentials come from Prefect, the rest from the settings.

    The HTTP client lives as long as the call: a script may use several event loops, which can't share one.
    """
    settings = Settings()
    async with new_client(egress_allow=settings.egress_allow) as http:
        stored, clock = PrefectCredentials(), SystemClock()
        async with usable_credentials(
            stored, _script_tokens, http, settings, clock=clock, masker=process_masker
        ) as credentials:
            yield DirectRunner(
                Services(
                    http=http,
                    credentials=credentials,
                    clock=clock,
                    masker=process_masker,
                    render=_no_templates,
                    connectors=settings.connectors,
                )
            )


_script_tokens = MemoryTokens()
"""A script has no history: it gets tokens that need no person's consent, for itself."""


def _no_templates(template: str, data: Mapping[str, Any]) -> Any:
    raise ActionError("templates are rendered by the workflow language: call transform.template in a workflow")
