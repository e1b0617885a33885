"""The gateway: `/hooks` for senders, `/api` for operators, and what watches over it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import prometheus_client
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from prefect.client.orchestration import PrefectClient, get_client
from starlette.exceptions import HTTPException

from blocks import Keyring, PrefectCredentials, use_keyring
from connectors.kit.call import CredentialSource
from connectors.kit.fresh_tokens import FreshCredentials
from connectors.kit.http_client import new_client
from connectors.kit.secrets.source import ExternalSecrets
from connectors.kit.secrets.store import Surroundings as External
from connectors.kit.token_requests import TokenServer
from flows.engine.callbacks import Callbacks, ProcessSigner
from flows.history import Execution, HistoryStore, Limits, Mode, open_store
from foundation.background import Background
from foundation.clock import Clock, SystemClock
from foundation.errors import IpaasError
from foundation.masking import process_masker
from foundation.settings import Settings
from ipaas import operations
from ipaas.admission.dispatcher import Dispatcher
from ipaas.admission.modes import said_for
from ipaas.connecting import Connecting
from ipaas.gateway import api, callbacks, credentials_api, oauth, waits_api
from ipaas.gateway.answers import Answers, Cancel
from ipaas.gateway.backlog import Backlog
from ipaas.gateway.budget import BodyBudget, Turns
from ipaas.gateway.callers import Callers
from ipaas.gateway.entrance import Entrance, Intake
from ipaas.gateway.hooks import Hooks
from ipaas.gateway.inbound import OffTheLoop
from ipaas.gateway.json_response import JsonResponse
from ipaas.gateway.metrics import FromHistory, Metrics
from ipaas.gateway.problems import (
    Problem,
    on_http_exception,
    on_ipaas_error,
    on_problem,
    on_unexpected,
    problem_response,
)
from ipaas.gateway.rates import Rates
from ipaas.gateway.receive import Receiver
from ipaas.gateway.waiting import Waiting
from ipaas.platform.keep_alive import KeepAlive
from ipaas.platform.retention import Retention
from ipaas.tokens import full_tokens, read_tokens

logger = logging.getLogger("ipaas.gateway")

TURN_BYTES = 8 * 1024 * 1024
"""Of bodies that are understood and stored at once: what a transaction may have to hold."""


@dataclass(frozen=True)
class Surroundings:
    """What the gateway works with and does not own: the real ones, or a test's."""

    store: HistoryStore
    prefect: PrefectClient
    credentials: CredentialSource
    clock: Clock
    callbacks: Callbacks = field(default_factory=lambda: Callbacks(ProcessSigner()))
    keyring: Keyring = field(default_factory=Keyring.generate)


Open = Callable[[Settings], AbstractAsyncContextManager[Surroundings]]


@asynccontextmanager
async def open_surroundings(settings: Settings) -> AsyncIterator[Surroundings]:
    """The settings' database and keys, and the environment's Prefect.

    Raises:
        ConfigurationError, StorageUnavailable
    """
    clock = SystemClock()
    keyring = Keyring.from_settings(settings)
    use_keyring(keyring)
    limits = Limits(settings.max_inline_bytes, settings.max_output_bytes)
    store = open_store(settings.database, clock, limits, ui_url=settings.prefect_ui_url)
    await store.open()
    try:
        async with get_client() as prefect:
            yield Surroundings(store, prefect, PrefectCredentials(clock=clock), clock, Callbacks(keyring), keyring)
    finally:
        await store.close()


def create_app(settings: Settings, open_: Open = open_surroundings) -> FastAPI:
    """The gateway's application; its parts start and stop with it.

    Raises:
        ConfigurationError: a rate limit can't be understood; the rest, and StorageUnavailable, when it starts.
    """
    app = FastAPI(
        title="prefect-ipaas",
        version="1",
        description="Executions and workflows of prefect-ipaas.",
        lifespan=lambda app: _lifespan(app, settings, open_),
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # its spans show the URL with its query
    )
    app.state.settings, app.state.metrics, app.state.intake = settings, Metrics(), Intake()
    app.state.rates = Rates(settings)
    app.state.bodies = BodyBudget(max(settings.max_inflight_bytes, settings.max_body_bytes))
    app.state.metrics.body_bytes.set_function(lambda: app.state.bodies.held)
    for part in (api, waits_api, credentials_api, callbacks, oauth):
        app.include_router(part.router)
    app.add_api_route("/healthz", _healthz, include_in_schema=False)
    app.add_api_route("/readyz", _readyz, include_in_schema=False)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(IpaasError, on_ipaas_error)
    app.add_exception_handler(Exception, on_unexpected)
    if settings.cors_origins:
        methods, headers = ["GET", "POST"], ["Authorization"]
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=methods, allow_headers=headers
        )
    app.add_middleware(Entrance)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, settings: Settings, open_: Open) -> AsyncIterator[None]:
    state = app.state
    metrics: Metrics = state.metrics
    async with open_(settings) as given, new_client(egress_allow=settings.egress_allow) as http:
        store, clock = given.store, given.clock
        hooks, waiting, off_the_loop = Hooks(store), Waiting(store), OffTheLoop()
        standard = said_for(Mode.STANDARD, Mode(settings.mode))  # the workers begin the others
        backlog = Backlog(store, settings.backlog, settings.workflow_backlog)
        dispatcher = Dispatcher(store, given.prefect, _count_dispatched(metrics, clock), lambda: standard)
        state.store, state.prefect, state.clock, state.callbacks = store, given.prefect, clock, given.callbacks
        state.hooks, state.dispatcher, state.backlog, state.waiting = hooks, dispatcher, backlog, waiting
        state.from_history = FromHistory(metrics, store, clock)
        state.full_tokens, state.read_tokens = full_tokens(settings), read_tokens(settings)
        state.ui_url = settings.prefect_ui_url
        server = TokenServer(http, clock=clock, masker=process_masker)
        gateway_url = settings.public_url or settings.gateway_url
        credentials = ExternalSecrets(given.credentials, External(settings, http, clock))
        state.connecting = Connecting(credentials, store, server, given.keyring, clock, gateway=gateway_url)
        fresh = FreshCredentials(credentials, store, http, clock=clock, masker=process_masker)
        state.receiver = Receiver(
            settings=settings,
            store=store,
            hooks=hooks,
            credentials=credentials,
            answers=Answers(waiting, Callers(store), metrics, _cancel_for_sender(given)),
            backlog=backlog,
            rates=state.rates,
            bodies=state.bodies,
            turns=Turns(TURN_BYTES),
            off_the_loop=off_the_loop,
            clock=clock,
            metrics=metrics,
            intake=state.intake,
        )
        await hooks.refresh()
        retention = Retention(store, clock, settings.retention, settings.retention_count)
        state.background = background = Background(clock)
        background.start("hooks", hooks.run)
        background.start("backlog", backlog.run)
        background.start("waiting", waiting.run)
        background.start("dispatcher", dispatcher.run)
        background.start("retention", retention.run)
        background.start("tokens", KeepAlive(store, fresh).run)
        try:
            yield
        finally:
            off_the_loop.close()
            await background.stop()
            await fresh.close()


def _count_dispatched(metrics: Metrics, clock: Clock) -> Callable[[Sequence[Execution]], None]:
    def count(executions: Sequence[Execution]) -> None:
        metrics.dispatched.inc(len(executions))
        for execution in executions:
            metrics.dispatch_seconds.observe((clock.now() - execution.accepted_at).total_seconds())

    return count


def _cancel_for_sender(given: Surroundings) -> Cancel:
    async def cancel(execution_id: str) -> None:
        try:
            await operations.cancel(given.store, given.prefect, execution_id, by="the sender", reason="hung up")
        except operations.Conflict:
            return  # it ended just before
        except IpaasError as error:
            logger.warning("execution %s goes on though its sender hung up: %s", execution_id, error)

    return cancel


async def _healthz() -> dict[str, str]:
    return {"status": "ok"}


async def _readyz(request: Request) -> Response:
    """200 when the database and Prefect answer; 503 names the one that does not.

    Both tell of restarted loops, frozen polls and credentials that a person must connect again.
    """
    state = request.app.state
    frozen, lost, database, prefect = await asyncio.gather(
        _frozen_polls(state.store),
        _lost_credentials(state.store),
        _fault(state.store.ping(), "database"),
        _fault(_ask(state.prefect), "Prefect"),
    )
    told = {"restarted": state.background.restarted(), "frozen_polls": frozen, "lost_credentials": lost}
    extra = {name: what for name, what in told.items() if what}
    if faults := [fault for fault in (database, prefect) if fault]:
        return problem_response(503, "; ".join(faults), headers={"Retry-After": "5"}, **extra)
    return JsonResponse({"status": "ready", **extra})


async def _frozen_polls(store: HistoryStore) -> list[dict[str, Any]]:
    try:
        async with asyncio.timeout(3):
            polls = await store.polls()
    except (IpaasError, OSError, TimeoutError):
        return []  # that the database does not answer is told already
    return [
        {"workflow": poll.workflow, "poll": poll.source, "failures": poll.failures, "seconds": round(poll.age)}
        for poll in polls
        if poll.is_frozen
    ]


async def _lost_credentials(store: HistoryStore) -> list[dict[str, Any]]:
    try:
        async with asyncio.timeout(3):
            states = await store.tokens()
    except (IpaasError, OSError, TimeoutError):
        return []  # that the database does not answer is told already
    return [
        {"credential": state.credential, "type": state.type, "connected_by": state.connected_by}
        for state in states
        if state.is_lost
    ]


async def _ask(prefect: PrefectClient) -> None:
    await prefect.api_version()  # unlike its health, this wants the right password


async def _fault(check: Coroutine[Any, Any, None], name: str) -> str | None:
    try:
        async with asyncio.timeout(3):
            await check
    except (IpaasError, httpx.HTTPError, OSError, TimeoutError) as error:
        return f"{name} does not answer: {type(error).__name__}"
    return None


async def _metrics(request: Request) -> Response:
    state = request.app.state
    await state.from_history.refresh()
    return Response(state.metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type
    faults = [{"path": ".".join(map(str, fault["loc"])), "message": fault["msg"]} for fault in error.errors()]
    return problem_response(422, f"{faults[0]['path']}: {faults[0]['message']}", errors=faults)
