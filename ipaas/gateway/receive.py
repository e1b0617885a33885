"""The hot path: one inbound request, from its first byte to its answer.

Only what the sender must wait for happens here: match, bound, verify, understand, store. The 202 goes out after the
event is durable; Prefect is not in the way.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from time import perf_counter

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from connectors.kit.call import CredentialSource
from connectors.webhooks import Delivery, Verified, verify
from flows.history import Accepted, HistoryStore, NewExecution, Topic, Trigger
from foundation.clock import Clock
from foundation.errors import CredentialError, StorageUnavailable, VerificationFailed
from foundation.ids import new_id
from foundation.log_fields import log_fields
from foundation.settings import Settings
from foundation.tracing import SpanKind, annotate, mark_failed, span, traceparent
from ipaas.gateway.answers import Answers
from ipaas.gateway.backlog import Backlog
from ipaas.gateway.budget import BodyBudget, Turns
from ipaas.gateway.entrance import Intake, shutting_down
from ipaas.gateway.hooks import Hook, Hooks
from ipaas.gateway.identity import dedupe_keys
from ipaas.gateway.inbound import INLINE_BYTES, Inbound, OffTheLoop, Understood
from ipaas.gateway.metrics import Metrics
from ipaas.gateway.payload import read_body
from ipaas.gateway.problems import Problem, problem_response, unavailable
from ipaas.gateway.rates import Rates
from ipaas.logs import SparseLog

logger = logging.getLogger("ipaas.gateway")


@dataclass
class Receiver:
    """What receiving needs; one per gateway."""

    settings: Settings
    store: HistoryStore
    hooks: Hooks
    credentials: CredentialSource
    answers: Answers
    backlog: Backlog
    rates: Rates
    bodies: BodyBudget
    turns: Turns
    off_the_loop: OffTheLoop
    clock: Clock
    metrics: Metrics
    intake: Intake
    _log: SparseLog = field(default_factory=lambda: SparseLog(logger))

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
            # Not kept: an exception that its own frame refers to keeps all of that frame's, the body too, for a while.
            reason, answer = problem.reason, problem.response()
            if problem.status in (429, 503):
                self._log.warning("refused a request to /hooks/%s: %s", path, problem.detail)
        except StorageUnavailable as error:
            detail = "the storage does not answer; nothing was stored, please send it again"
            reason, answer = "storage", unavailable(detail).response()
            self._log.warning("an event for /hooks/%s could not be stored: %s", path, error)
        except Exception:
            reason, answer = "error", problem_response(500, "internal error")
            logger.exception("a request to /hooks/%s failed", path)
        self.metrics.rejected.labels(reason).inc()
        annotate({"ipaas.rejected": reason})
        if answer.status_code >= 500:
            mark_failed(reason)
        return answer

    async def _receive(self, request: Request, path: str) -> Response:
        started = perf_counter()
        if self.intake.stopped:
            raise shutting_down()
        await self.rates.check_sender(request.client.host if request.client else "")
        hook = await self._match(request.method, path)
        annotate({"ipaas.workflow": hook.workflow})
        with log_fields(workflow=hook.workflow):
            taken = await self._take(hook, request, started)
            if isinstance(taken, Response):
                return taken
            respond = await self.hooks.respond_of(hook, taken)
            if respond.when == "finished":
                result = await self.answers.result(hook, respond, taken.execution_id, request.receive)
                if result:
                    return result
            return acknowledged(request, taken, self.settings.public_url)

    async def _take(self, hook: Hook, request: Request, started: float) -> Accepted | Response:
        """Stores the event, greets back, or says that it is not wanted.

        When this returns, nothing is held of the body any more.
        """
        with self.bodies.share() as share:
            body = await read_body(request, self.settings.max_body_bytes, share)
            verified = await self._verify(hook, request, body)
            if verified.answer:
                self.metrics.handshakes.labels(hook.workflow).inc()
                return Response(verified.answer.body, media_type=verified.answer.content_type)
            if request.method not in hook.webhook.methods:
                raise _wrong_method(hook)
            inbound = Inbound(
                request.method,
                request.scope["path"],
                request.headers.raw,
                request.scope["query_string"],
                body,
                self.clock.now(),
            )
            async with self.turns.take(inbound.size):
                understood = await self.off_the_loop.understand(hook, inbound)
                if understood is None:
                    self.metrics.ignored.labels(hook.workflow).inc()
                    return JSONResponse({"status": "ignored"}, status_code=202)
                keys = self._dedupe_keys(hook, request, understood, verified)
                await self.rates.check_workflow(hook.workflow)
                self.backlog.check(hook.workflow)
                self._note_faults(hook, understood)
                return await self._accept(hook, understood, keys, started)

    async def _match(self, method: str, path: str) -> Hook:
        hook = await self.hooks.find(path)
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
            self._log.warning("workflow %s: deliveries can't be verified: %s", hook.workflow, error)
            raise unavailable("deliveries can't be verified at the moment", reason="credential") from None
        delivery = Delivery(request.method, _url(request), request.headers.raw, body)
        judged = partial(verify, hook.scheme, delivery, secrets, self.clock.now(), self.settings.public_url)
        try:
            return await self.off_the_loop.run(judged, large=len(body) > INLINE_BYTES)
        except VerificationFailed as error:
            self._log.warning("workflow %s: refused a delivery (%s): %s", hook.workflow, error.reason, error)
            self.metrics.unverified.labels(hook.workflow, error.reason).inc()
            raise Problem(401, "the delivery could not be verified", reason="unverified") from None

    def _dedupe_keys(self, hook: Hook, request: Request, understood: Understood, verified: Verified) -> Sequence[str]:
        """What makes this delivery the same as another one. None of it: nothing does."""
        if understood.dedupe_fault:
            self._log.warning("workflow %s: dedupe: %s", hook.workflow, understood.dedupe_fault)
            self.metrics.empty_dedupe.labels(hook.workflow).inc()
        return dedupe_keys(hook, understood.dedupe, verified, request.headers.get("idempotency-key"))

    def _note_faults(self, hook: Hook, understood: Understood) -> None:
        """What could not be evaluated for an event that is taken all the same: it is not lost for that.

        An undecided `when` counts as wanted, a key as empty.
        """
        if understood.when_fault:
            self._log.warning("workflow %s: when: %s", hook.workflow, understood.when_fault)
            self.metrics.undecided.labels(hook.workflow).inc()
        for fault in understood.flow.faults:
            self._log.warning("workflow %s: %s", hook.workflow, fault)
            self.metrics.faulty_keys.labels(hook.workflow).inc()

    async def _accept(self, hook: Hook, understood: Understood, keys: Sequence[str], started: float) -> Accepted:
        now = self.clock.now()
        new = NewExecution(
            id=new_id(),
            workflow=hook.workflow,
            version=hook.version,
            trigger=Trigger.WEBHOOK,
            event=understood.event,
            accepted_at=now,
            dedupe_keys=keys,
            dedupe_until=now + timedelta(days=self.settings.dedupe_days) if keys else None,
            trace=traceparent(),
            keys=understood.flow.keys,
            priority=understood.flow.priority,
        )
        [accepted] = await self.store.accept([new])
        annotate({"ipaas.execution": accepted.execution_id})
        self.metrics.accept_seconds.observe(perf_counter() - started)
        if accepted.duplicate:
            self.metrics.duplicates.labels(hook.workflow).inc()
        else:
            self.metrics.accepted.labels(hook.workflow).inc()
            self.backlog.add(hook.workflow)
            self.store.announce(Topic.ACCEPTED)
        return accepted


def acknowledged(request: Request, accepted: Accepted, public_url: str | None) -> Response:
    """The 202 of an event that is durable."""
    base = public_url or f"{request.scope['scheme']}://{request.headers.get('host', '')}"
    answer = {
        "execution_id": accepted.execution_id,
        "status": "duplicate" if accepted.duplicate else "accepted",
        "status_url": f"{base.rstrip('/')}/api/executions/{accepted.execution_id}",
    }
    return JSONResponse(answer, status_code=202)


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
