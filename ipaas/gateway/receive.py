"""The hot path: one inbound request, from its first byte to its answer.

Only what the sender must wait for happens here: match, bound, verify, understand, store. The 202 goes out after the event
is durable; Prefect is not in the way.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from blocks.clock import Clock
from blocks.errors import CredentialError, ExpressionError, StorageUnavailable, VerificationFailed
from blocks.settings import Settings
from connectors.call import CredentialSource
from connectors.webhooks import Delivery, Verified, verify
from flows.event import Event
from flows.expressions import Expression
from flows.history import Execution, HistoryStore, NewExecution, Status, Trigger
from flows.ids import new_id
from ipaas.dispatcher import Dispatcher
from ipaas.gateway.backlog import Backlog
from ipaas.gateway.hooks import Hook, Hooks
from ipaas.gateway.metrics import Metrics
from ipaas.gateway.payload import collect, parse_body, read_body
from ipaas.gateway.problems import Problem, problem_response, unavailable
from ipaas.gateway.waiting import Waiting

logger = logging.getLogger("ipaas.gateway")

MAX_KEY_LENGTH = 1_000
FAILING_PATHS = 20


@dataclass
class Front:
    """What receiving needs; one per gateway."""

    settings: Settings
    store: HistoryStore
    hooks: Hooks
    credentials: CredentialSource
    dispatcher: Dispatcher
    waiting: Waiting
    backlog: Backlog
    clock: Clock
    metrics: Metrics = field(default_factory=Metrics)

    async def receive(self, request: Request) -> Response:
        """Answers one request to `/hooks/{path}`; every refusal is counted by its reason."""
        started = perf_counter()
        try:
            response = await self._receive(request)
        except Problem as problem:
            self.metrics.rejected.labels(_REASONS.get(problem.status, str(problem.status))).inc()
            return problem.response()
        except StorageUnavailable as error:
            logger.error("an event could not be stored: %s", error)
            self.metrics.rejected.labels("storage").inc()
            return unavailable("the storage does not answer; nothing was stored, please send it again").response()
        finally:
            self.metrics.accept_seconds.observe(perf_counter() - started)
        return response

    async def _receive(self, request: Request) -> Response:
        hook = self._match(request)
        body = await read_body(request, self.settings.max_body_bytes)
        verified = await self._verify(hook, request, body)
        if verified.answer:
            self.metrics.handshakes.labels(hook.workflow).inc()
            return Response(verified.answer.body, media_type=verified.answer.content_type)
        if request.method not in hook.webhook.methods:
            raise _wrong_method(hook)
        event = self._event(hook, request, body)
        _check_schema(hook, event)
        key = self._dedupe_key(hook, request, event, verified)
        self.backlog.check(hook.workflow)
        return await self._accept(hook, request, event, key)

    def _match(self, request: Request) -> Hook:
        path = request.path_params["path"]
        hook = self.hooks.match(path)
        if hook is None:
            raise Problem(404, f"no webhook at /hooks/{path}")
        if request.method not in hook.webhook.methods and request.method not in hook.greets_with:
            raise _wrong_method(hook)
        if not hook.active:
            raise Problem(409, f"workflow {hook.workflow} is not active")
        return hook

    async def _verify(self, hook: Hook, request: Request, body: bytes) -> Verified:
        if hook.scheme is None:
            return Verified()
        try:
            secrets = await hook.secrets(self.credentials)
        except CredentialError as error:
            logger.error("workflow %s: deliveries can't be verified: %s", hook.workflow, error)
            raise unavailable("deliveries can't be verified at the moment") from None
        delivery = Delivery(request.method, _url(request), request.headers.raw, body)
        try:
            return verify(hook.scheme, delivery, secrets, self.clock.now(), self.settings.public_url)
        except VerificationFailed as error:
            logger.warning("workflow %s: refused a delivery (%s): %s", hook.workflow, error.reason, error)
            self.metrics.unverified.labels(hook.workflow, error.reason).inc()
            raise Problem(401, "the delivery could not be verified") from None

    def _event(self, hook: Hook, request: Request, body: bytes) -> Event:
        headers: dict[str, str] = {}
        for raw_name, raw_value in request.headers.raw:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            if name not in hook.hidden_headers:
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Event(
            body=parse_body(request.headers.get("content-type", ""), body),
            headers=headers,
            query=collect(request.query_params.multi_items()),
            method=request.method,
            path=request.url.path,
            received_at=self.clock.now(),
        )

    def _dedupe_key(self, hook: Hook, request: Request, event: Event, verified: Verified) -> str | None:
        """What makes this delivery the same as another one, scoped to the hook; None: nothing does."""
        kind, value = "delivery", verified.delivery_id
        if hook.dedupe:
            kind, value = "dedupe", self._rendered_dedupe(hook, hook.dedupe, event)
        if not value and (sent := request.headers.get("idempotency-key")):
            kind, value = "idempotency-key", sent
        if not value and verified.signature_hash:
            kind, value = "signature", verified.signature_hash
        if not value:
            return None
        if len(value) > MAX_KEY_LENGTH:
            raise Problem(400, f"the delivery's {kind} is longer than {MAX_KEY_LENGTH} characters")
        return f"{hook.workflow}\n{hook.path}\n{kind}\n{value}"

    def _rendered_dedupe(self, hook: Hook, dedupe: Expression, event: Event) -> str | None:
        try:
            value = dedupe.render({"event": event.document()})
        except ExpressionError as error:
            logger.warning("workflow %s: dedupe: %s", hook.workflow, error)
            value = None
        if value is None or value == "":
            self.metrics.empty_dedupe.labels(hook.workflow).inc()
            return None
        return str(value)

    async def _accept(self, hook: Hook, request: Request, event: Event, key: str | None) -> Response:
        now = self.clock.now()
        new = NewExecution(
            id=new_id(),
            workflow=hook.workflow,
            version=hook.version,
            trigger=Trigger.WEBHOOK,
            event=event.document(),
            accepted_at=now,
            dedupe_key=key,
            dedupe_until=now + timedelta(days=self.settings.dedupe_days) if key else None,
        )
        [accepted] = await self.store.accept([new])
        if accepted.duplicate:
            self.metrics.duplicates.labels(hook.workflow).inc()
        else:
            self.metrics.accepted.labels(hook.workflow).inc()
            self.backlog.add(hook.workflow)
            self.dispatcher.poke()
        if hook.answer:
            return await self._answer(hook, request, accepted.execution_id, hook.answer)
        return self._acknowledged(request, accepted.execution_id, "duplicate" if accepted.duplicate else "accepted")

    def _acknowledged(self, request: Request, execution_id: str, status: str) -> Response:
        base = self.settings.public_url or f"{request.url.scheme}://{request.url.netloc}"
        url = f"{base.rstrip('/')}/api/executions/{execution_id}"
        return JSONResponse({"execution_id": execution_id, "status": status, "status_url": url}, status_code=202)

    async def _answer(self, hook: Hook, request: Request, execution_id: str, answer: Expression) -> Response:
        """Waits for the execution's end and answers with its result."""
        execution = await self.waiting.wait(execution_id, hook.respond.timeout)
        if execution is None:
            return self._acknowledged(request, execution_id, "accepted")
        if execution.status is not Status.SUCCEEDED:
            status = 504 if execution.status is Status.TIMED_OUT else 500
            return problem_response(status, _failure(execution), execution_id=execution_id)
        try:
            scope = await self._answer_scope(hook, execution)
            said = answer.render(scope)
            return _as_response(said["status"], said["body"], said["headers"])
        except (ExpressionError, ValueError) as error:
            logger.error("workflow %s: respond: %s", hook.workflow, error)
            return problem_response(500, f"respond: {error}", execution_id=execution_id)


    async def _answer_scope(self, hook: Hook, execution: Execution) -> dict[str, Any]:
        whole = await self.store.execution(execution.id) or execution
        scope: dict[str, Any] = {
            "event": whole.event,
            "workflow": {"name": hook.workflow},
            "execution": {"id": execution.id},
            "now": self.clock.now(),
        }
        steps = {
            step.step_id: {"output": step.output, "status": step.status, "error": step.error} for step in whole.steps
        }
        variables = hook.vars.render(scope) if hook.vars else {}
        return scope | {"output": whole.output, "steps": steps, "vars": variables}


def _as_response(status: Any, body: Any, headers: dict[str, Any]) -> Response:
    code = int(status)
    if not 200 <= code <= 599:
        raise ValueError(f"{code} is no status to answer with")
    lines = {name: str(value) for name, value in headers.items()}
    if isinstance(body, str):
        typed = {"content-type": "text/plain; charset=utf-8"} | {name.lower(): value for name, value in lines.items()}
        return Response(body, status_code=code, headers=typed)
    return JSONResponse(body, status_code=code, headers=lines)


def _failure(execution: Execution) -> str:
    message = (execution.error or {}).get("message")
    return str(message) if message else f"the execution ended as {execution.status}"


def _check_schema(hook: Hook, event: Event) -> None:
    if hook.schema is None:
        return
    errors = sorted(hook.schema.iter_errors(event.body), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        failing = [{"path": error.json_path, "message": error.message[:300]} for error in errors[:FAILING_PATHS]]
        raise Problem(422, f"the body does not fit the workflow's input: {failing[0]['message']}", errors=failing)


def _wrong_method(hook: Hook) -> Problem:
    return Problem(405, f"/hooks/{hook.path} takes {', '.join(hook.webhook.methods)}", headers={"Allow": ", ".join(hook.webhook.methods)})


def _url(request: Request) -> str:
    """The absolute URL with path and query exactly as they stood in the request line."""
    scope = request.scope
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    target = raw_path + (b"?" + query if query else b"")
    return f"{scope['scheme']}://{request.headers.get('host', '')}{target.decode('latin-1')}"


_REASONS = {
    400: "malformed",
    401: "unverified",
    404: "unknown_path",
    405: "method",
    408: "slow",
    409: "inactive",
    413: "too_large",
    422: "schema",
    429: "backlog",
    503: "unavailable",
}
