"""The hot path: one inbound request, from its first byte to its answer.

Only what the sender must wait for happens here: match, bound, verify, understand, store. The 202 goes out after the
event is durable; Prefect is not in the way.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from connectors.kit.call import CredentialSource
from connectors.webhooks import Delivery, Verified, verify
from flows.expressions import Expression
from flows.history import HistoryStore, NewExecution, Trigger
from flows.language.event import Event
from foundation.clock import Clock
from foundation.errors import CredentialError, ExpressionError, StorageUnavailable, VerificationFailed
from foundation.ids import new_id
from foundation.log_fields import log_fields
from foundation.settings import Settings
from foundation.tracing import SpanKind, annotate, mark_failed, span, traceparent
from ipaas.admission.dispatcher import Dispatcher
from ipaas.gateway.answers import Answers
from ipaas.gateway.backlog import Backlog
from ipaas.gateway.entrance import Door, shutting_down
from ipaas.gateway.hooks import Hook, Hooks
from ipaas.gateway.metrics import Metrics
from ipaas.gateway.payload import collect, parse_body, read_body, too_deep
from ipaas.gateway.problems import Problem, unavailable
from ipaas.gateway.rates import Rates
from ipaas.logs import Seldom

logger = logging.getLogger("ipaas.gateway")

FAILING_PATHS = 20


@dataclass
class Front:
    """What receiving needs; one per gateway."""

    settings: Settings
    store: HistoryStore
    hooks: Hooks
    credentials: CredentialSource
    dispatcher: Dispatcher
    answers: Answers
    backlog: Backlog
    rates: Rates
    clock: Clock
    metrics: Metrics
    door: Door
    _seldom: Seldom = field(default_factory=lambda: Seldom(logger))

    async def receive(self, request: Request, path: str) -> Response:
        """Answers one request to `/hooks/{path}`; every refusal is counted by its reason."""
        with span("receive", parent=request.headers.get("traceparent"), kind=SpanKind.SERVER):
            answer = await self._answered(request, path)
            annotate({"http.response.status_code": answer.status_code})
            return answer

    async def _answered(self, request: Request, path: str) -> Response:
        try:
            return await self._receive(request, path)
        except Problem as problem:
            reason, answer = problem.reason, problem
            if problem.status in (429, 503):
                self._seldom.warning("refused a request to /hooks/%s: %s", path, problem.detail)
        except StorageUnavailable as error:
            reason, answer = (
                "storage",
                unavailable("the storage does not answer; nothing was stored, please send it again"),
            )
            self._seldom.warning("an event for /hooks/%s could not be stored: %s", path, error)
        except Exception:
            reason, answer = "error", Problem(500, "internal error")
            logger.exception("a request to /hooks/%s failed", path)
        self.metrics.rejected.labels(reason).inc()
        annotate({"ipaas.rejected": reason})
        if answer.status >= 500:
            mark_failed(reason)
        return answer.response()

    async def _receive(self, request: Request, path: str) -> Response:
        started = perf_counter()
        if self.door.shut:
            raise shutting_down()
        await self.rates.check_sender(request.client.host if request.client else "")
        hook = self._match(request.method, path)
        annotate({"ipaas.workflow": hook.workflow})
        with log_fields(workflow=hook.workflow):
            body = await read_body(request, self.settings.max_body_bytes)
            verified = await self._verify(hook, request, body)
            if verified.answer:
                self.metrics.handshakes.labels(hook.workflow).inc()
                return Response(verified.answer.body, media_type=verified.answer.content_type)
            if request.method not in hook.webhook.methods:
                raise _wrong_method(hook)
            event = _event(hook, request, body, self.clock)
            _check_schema(hook, event["body"])
            key = self._dedupe_key(hook, request, event, verified)
            await self.rates.check_workflow(hook.workflow)
            self.backlog.check(hook.workflow)
            return await self._accept(hook, request, event, key, started)

    def _match(self, method: str, path: str) -> Hook:
        hook = self.hooks.match(path)
        if hook is None:
            raise Problem(404, f"no webhook at /hooks/{path}", reason="unknown_path")
        if method not in hook.webhook.methods and method not in hook.greets_with:
            raise _wrong_method(hook)
        if not hook.active:
            raise Problem(409, f"workflow {hook.workflow} is not active", reason="inactive")
        return hook

    async def _verify(self, hook: Hook, request: Request, body: bytes) -> Verified:
        if hook.scheme is None:
            return Verified()
        try:
            secrets = await hook.secrets(self.credentials)
        except CredentialError as error:
            self._seldom.warning("workflow %s: deliveries can't be verified: %s", hook.workflow, error)
            raise unavailable("deliveries can't be verified at the moment", reason="credential") from None
        delivery = Delivery(request.method, _url(request), request.headers.raw, body)
        try:
            return verify(hook.scheme, delivery, secrets, self.clock.now(), self.settings.public_url)
        except VerificationFailed as error:
            self._seldom.warning("workflow %s: refused a delivery (%s): %s", hook.workflow, error.reason, error)
            self.metrics.unverified.labels(hook.workflow, error.reason).inc()
            raise Problem(401, "the delivery could not be verified", reason="unverified") from None

    def _dedupe_key(self, hook: Hook, request: Request, event: Mapping[str, Any], verified: Verified) -> str | None:
        """What makes this delivery the same as another one, scoped to the hook; None: nothing does."""
        known_by = (
            ("dedupe", self._rendered_dedupe(hook, hook.dedupe, event) if hook.dedupe else None),
            ("delivery", verified.delivery_id),
            ("idempotency-key", request.headers.get("idempotency-key")),
            ("signature", verified.signature_hash),
        )
        for kind, value in known_by:
            if value:
                return f"{hook.workflow}\n{hook.path}\n{kind}\n{value}"
        return None

    def _rendered_dedupe(self, hook: Hook, dedupe: Expression, event: Mapping[str, Any]) -> str | None:
        try:
            value = dedupe.render({"event": event})
        except ExpressionError as error:
            self._seldom.warning("workflow %s: dedupe: %s", hook.workflow, error)
            value = None
        if value is None or value == "":
            self.metrics.empty_dedupe.labels(hook.workflow).inc()
            return None
        return str(value)

    async def _accept(
        self, hook: Hook, request: Request, event: dict[str, Any], key: str | None, started: float
    ) -> Response:
        now = self.clock.now()
        new = NewExecution(
            id=new_id(),
            workflow=hook.workflow,
            version=hook.version,
            trigger=Trigger.WEBHOOK,
            event=event,
            accepted_at=now,
            dedupe_key=key,
            dedupe_until=now + timedelta(days=self.settings.dedupe_days) if key else None,
            trace=traceparent(),
        )
        [accepted] = await self.store.accept([new])
        annotate({"ipaas.execution": accepted.execution_id})
        self.metrics.accept_seconds.observe(perf_counter() - started)
        if accepted.duplicate:
            self.metrics.duplicates.labels(hook.workflow).inc()
        else:
            self.metrics.accepted.labels(hook.workflow).inc()
            self.backlog.add(hook.workflow)
            self.dispatcher.poke()
        if hook.answer:
            result = await self.answers.result(hook, hook.answer, accepted.execution_id, request.receive)
            if result:
                return result
        return self._acknowledged(request, accepted.execution_id, "duplicate" if accepted.duplicate else "accepted")

    def _acknowledged(self, request: Request, execution_id: str, status: str) -> Response:
        base = self.settings.public_url or f"{request.scope['scheme']}://{request.headers.get('host', '')}"
        url = f"{base.rstrip('/')}/api/executions/{execution_id}"
        return JSONResponse({"execution_id": execution_id, "status": status, "status_url": url}, status_code=202)


def _event(hook: Hook, request: Request, body: bytes, clock: Clock) -> dict[str, Any]:
    """The event as it is stored and as expressions see it, without the headers that hold secrets."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name not in hook.hidden_headers:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    event = Event(
        body=parse_body(request.headers.get("content-type", ""), body),
        headers=headers,
        query=collect(request.query_params.multi_items()),
        method=request.method,
        path=request.scope["path"],
        received_at=clock.now(),
    )
    try:
        return event.document()
    except ValueError:  # what a document may nest ends at 255 levels
        raise too_deep() from None


def _check_schema(hook: Hook, body: Any) -> None:
    if hook.schema is None:
        return
    try:
        errors = list(islice(hook.schema.iter_errors(body), FAILING_PATHS))
    except RecursionError:
        raise too_deep() from None
    if errors:
        failing = [{"path": error.json_path, "message": error.message[:300]} for error in errors]
        first = f"{failing[0]['path']}: {failing[0]['message']}"
        raise Problem(422, f"the body does not fit the workflow's input: {first}", reason="schema", errors=failing)


def _wrong_method(hook: Hook) -> Problem:
    allowed = ", ".join(hook.webhook.methods)
    return Problem(405, f"/hooks/{hook.path} takes {allowed}", reason="method", headers={"Allow": allowed})


def _url(request: Request) -> str:
    """The absolute URL with path and query exactly as they stood in the request line."""
    scope = request.scope
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    target = raw_path + (b"?" + query if query else b"")
    return f"{scope['scheme']}://{request.headers.get('host', '')}{target.decode('latin-1')}"
