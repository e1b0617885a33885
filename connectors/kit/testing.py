"""Runs actions in tests, without a server and without the network.

async def test_it_posts() -> None:
    async with acting(answers(httpx.Response(200, json={…})), {"team": {"token": "xoxb-1"}}) as stage:
        await slack.post_message(channel="#a", text="hi", credential="team")
    assert stage.requests[0].url.path == "/api/chat.postMessage"
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from blocks.credential import Credential
from blocks.source import MemoryCredentials
from connectors.kit.call import Services, current_runner
from connectors.kit.direct import DirectRunner
from connectors.kit.http_client import new_client
from connectors.kit.retry import RetryPolicy
from foundation.clock import ManualClock
from foundation.masking import Masker
from foundation.settings import ConnectorSettings

Handler = Callable[[httpx.Request], httpx.Response]


@dataclass
class Stage:
    """Where a test's actions run: their services, the clock that their waits move, the requests they sent."""

    services: Services
    clock: ManualClock
    requests: list[httpx.Request] = field(default_factory=list)


def answers(*given: httpx.Response | Exception) -> Handler:
    """Answers one request after the other with these, raising exceptions; the last one is given again and again."""
    left = list(given)

    def handler(request: httpx.Request) -> httpx.Response:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        # A copy, since a response can be read only once.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    return handler


@asynccontextmanager
async def acting(
    handler: Handler | None = None,
    credentials: Mapping[str, Credential | Mapping[str, Any]] | None = None,
    *,
    base_urls: Mapping[str, str] | None = None,
    render: Callable[[str, Mapping[str, Any]], Any] = lambda template, data: template.format(**data),
    policy: RetryPolicy | None = None,
    timeout: float | None = None,
    execution_id: str = "execution",
) -> AsyncIterator[Stage]:
    """Within it, every action is run at once, by a `DirectRunner`, and its requests go to `handler`.

    Args:
        handler: answers each request; default: an empty 200.
        credentials: by name, each its type's fields.
        base_urls: by connector, as `IPAAS_CONNECTORS__…__BASE_URL` sets them.
        render: stands in for the workflow language; `str.format` by default.
        policy, timeout: what the step declares.
    """
    clock, masker, answer = ManualClock(), Masker(), handler or answers(httpx.Response(200))
    requests: list[httpx.Request] = []

    def recorded(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answer(request)

    async with new_client(httpx.MockTransport(recorded)) as http:
        services = Services(
            http=http,
            credentials=MemoryCredentials(credentials or {}, masker=masker),
            clock=clock,
            masker=masker,
            render=render,
            connectors={name: ConnectorSettings(base_url=url) for name, url in (base_urls or {}).items()},
        )
        runner = DirectRunner(services, execution_id=execution_id, policy=policy, timeout=timeout)
        token = current_runner.set(runner)
        try:
            yield Stage(services, clock, requests)
        finally:
            current_runner.reset(token)
