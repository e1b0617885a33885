"""The gateway: `/hooks` for senders, `/api` for operators, and what watches over it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import prometheus_client
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from prefect.client.orchestration import get_client
from starlette.exceptions import HTTPException

from blocks import Keyring, PrefectCredentials, Settings, use_keyring
from blocks.clock import SystemClock
from blocks.errors import IpaasError
from flows.history import Execution, open_store
from ipaas.dispatcher import Dispatcher
from ipaas.gateway import api
from ipaas.gateway.backlog import Backlog
from ipaas.gateway.hooks import Hooks
from ipaas.gateway.metrics import Metrics
from ipaas.gateway.problems import (
    Problem,
    on_http_exception,
    on_ipaas_error,
    on_problem,
    problem_response,
)
from ipaas.gateway.receive import Front
from ipaas.gateway.waiting import Waiting
from ipaas.tokens import full_tokens, read_tokens

logger = logging.getLogger("ipaas.gateway")

HOOK_METHODS = ["POST", "PUT", "PATCH", "GET", "DELETE", "HEAD", "OPTIONS"]


def create_app(settings: Settings) -> FastAPI:
    """The gateway's application; its parts start and stop with it.

    Raises:
        ConfigurationError, StorageUnavailable: when it starts.
    """
    app = FastAPI(
        title="prefect-ipaas",
        version="1",
        description="Executions and workflows of prefect-ipaas.",
        lifespan=lambda app: _lifespan(app, settings),
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(api.router)
    app.add_api_route("/hooks/{path:path}", _receive, methods=HOOK_METHODS, include_in_schema=False)
    app.add_api_route("/healthz", _healthz, include_in_schema=False)
    app.add_api_route("/readyz", _readyz, include_in_schema=False)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(IpaasError, on_ipaas_error)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET", "POST"], allow_headers=["Authorization"]
        )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    clock, metrics = SystemClock(), Metrics()
    use_keyring(Keyring.from_settings(settings))
    store = open_store(settings.database, clock)
    await store.open()
    async with get_client() as prefect:
        hooks, backlog, waiting = Hooks(store), Backlog(store, settings.backlog), Waiting(store)
        dispatcher = Dispatcher(store, prefect, clock, _count_dispatched(metrics, clock))
        app.state.store, app.state.prefect, app.state.clock = store, prefect, clock
        app.state.hooks, app.state.dispatcher, app.state.metrics, app.state.backlog = hooks, dispatcher, metrics, backlog
        app.state.full_tokens, app.state.read_tokens = full_tokens(settings), read_tokens(settings)
        app.state.ui_url = settings.prefect_ui_url
        app.state.front = Front(
            settings, store, hooks, PrefectCredentials(clock=clock), dispatcher, waiting, backlog, clock, metrics
        )
        await hooks.refresh()
        services = [asyncio.create_task(part.run()) for part in (hooks, backlog, waiting, dispatcher)]
        try:
            yield
        finally:
            for service in services:
                service.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*services)
            await store.close()


def _count_dispatched(metrics: Metrics, clock: SystemClock) -> Callable[[Sequence[Execution]], None]:
    def count(executions: Sequence[Execution]) -> None:
        metrics.dispatched.inc(len(executions))
        for execution in executions:
            metrics.dispatch_seconds.observe((clock.now() - execution.accepted_at).total_seconds())

    return count


async def _receive(request: Request) -> Response:
    front: Front = request.app.state.front
    return await front.receive(request)


async def _healthz() -> dict[str, str]:
    return {"status": "ok"}


async def _readyz(request: Request) -> Response:
    """200 when the database and Prefect answer; 503 names the one that does not."""
    state = request.app.state
    faults = [fault for fault in await asyncio.gather(_fault(state.store.ping(), "database"), _fault(_ask(state.prefect), "Prefect")) if fault]
    if faults:
        return problem_response(503, "; ".join(faults), headers={"Retry-After": "5"})
    return Response('{"status":"ready"}', media_type="application/json")


async def _ask(prefect: Any) -> None:
    if error := await prefect.api_healthcheck():
        raise error


async def _fault(check: Coroutine[Any, Any, None], name: str) -> str | None:
    try:
        async with asyncio.timeout(3):
            await check
    except (IpaasError, httpx.HTTPError, OSError, TimeoutError) as error:
        return f"{name} does not answer: {type(error).__name__}"
    return None


async def _metrics(request: Request) -> Response:
    state = request.app.state
    metrics: Metrics = state.metrics
    with contextlib.suppress(IpaasError):  # what is counted here is still told while the database is away
        metrics.backlog.clear()
        for workflow, waiting in (await state.store.backlog()).items():
            metrics.backlog.labels(workflow).set(waiting)
        oldest = await state.store.oldest_accepted()
        metrics.oldest.set((state.clock.now() - oldest).total_seconds() if oldest else 0)
        for status, count in (await state.store.counts()).items():
            metrics.executions.labels(status).set(count)
    return Response(metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type
    faults = [{"path": ".".join(map(str, fault["loc"])), "message": fault["msg"]} for fault in error.errors()]
    return problem_response(422, f"{faults[0]['path']}: {faults[0]['message']}", errors=faults)
