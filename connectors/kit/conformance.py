"""What every connector promises, as tests that a connector inherits, in this repository and outside of it.

A test module of the connector subclasses the suites, and pytest runs them:

    class TestActions(ActionSuite):
        actions = [create_label]

    class TestRequests(HttpSuite):
        cases = [HttpCase(action=create_label, …)]

It needs pytest with pytest-asyncio and `asyncio_mode = "auto"`.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
import pytest
from prefect import Task

from connectors.kit.action import Action
from connectors.kit.retry import RetryPolicy
from connectors.kit.testing import Handler, Stage, acting, answers
from foundation.errors import ActionError, ConnectionFailed, IpaasError, RemoteError, StepTimeout

Check = Callable[[httpx.Request], None]


@dataclass(frozen=True)
class HttpCase:
    """One action and how its vendor's side looks.

    Attributes:
        arguments: a sample call.
        credential: the fields of the credential that the sample call names.
        secret: what of it must never come back.
        request: asserts that a request is what the vendor documents.
        success: the vendor's answer; its text is one that comes back in the result.
        result: what the action returns then.
        aside: keys of what it returns that are not looked at.
        unauthorized, missing: the vendor's answers to a wrong secret, and to something that does not exist.
        said: the vendor's own words in those two answers.
        idempotency_header: where the vendor's API takes a key.
        malformed, malformed_said: an answer that can't be understood, and what the error says of it.
        repeats_safely: whether the request is safe to repeat on a 503 without `Retry-After`.
    """

    action: Action[Any, Any]
    arguments: Mapping[str, Any]
    credential: Mapping[str, str]
    secret: str
    request: Check
    success: Callable[[str], httpx.Response]
    result: Callable[[str], Any]
    unauthorized: httpx.Response
    missing: httpx.Response
    said: tuple[str, str]
    aside: frozenset[str] = frozenset()
    idempotency_header: str | None = None
    repeats_safely: bool = False
    malformed_said: str = "malformed JSON"
    malformed: httpx.Response = field(
        default_factory=lambda: httpx.Response(200, headers={"content-type": "application/json"}, content=b'{"a": ')
    )


async def perform(
    case: HttpCase, handler: Handler, policy: RetryPolicy | None = None, execution_id: str = "execution"
) -> tuple[Any, Stage]:
    """The action's result, and where it ran; an error it raised is the result."""
    async with acting(handler, {"mine": case.credential}, policy=policy, execution_id=execution_id) as stage:
        try:
            result = await case.action(**case.arguments, credential="mine")
        except IpaasError as error:
            result = error
    return result, stage


class ActionSuite:
    """What an action is."""

    actions: ClassVar[Sequence[Action[Any, Any]]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "action" in metafunc.fixturenames:
            metafunc.parametrize("action", self.actions, ids=[action.action_name for action in self.actions])

    def test_it_is_a_prefect_task_of_its_name(self, action: Action[Any, Any]) -> None:
        name = action.action_name
        assert isinstance(action, Task)
        assert (action.name, action.task_key) == (name, name)
        assert (action.persist_result, action.retries) == (False, 0)

    def test_python_calls_it_as_yaml_does(self, action: Action[Any, Any]) -> None:
        assert action.fn.__name__ == action.action_name.partition(".")[2]

    def test_it_is_typed_and_documented(self, action: Action[Any, Any]) -> None:
        text = inspect.getdoc(action.fn) or ""
        arguments, _, results = text.partition("Args:")[2].partition("Returns:")
        for parameter in action.signature.parameters.values():
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert f"    {parameter.name}: " in arguments
        assert action.signature.return_annotation is not inspect.Signature.empty
        assert results.strip()
        assert action.documentation.startswith("https://")
        assert action.description == text


class HttpSuite:
    """How an action treats its vendor, its caller and its secret."""

    cases: ClassVar[Sequence[HttpCase]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=lambda case: case.action.action_name)
        if "closed_case" in metafunc.fixturenames:
            closed = [case for case in self.cases if case.action.credential_required]
            metafunc.parametrize("closed_case", closed, ids=lambda case: case.action.action_name)

    async def test_the_request_is_what_the_vendor_documents(self, case: HttpCase) -> None:
        result, stage = await perform(case, answers(case.success("fine")))
        assert not isinstance(result, Exception)
        (request,) = stage.requests
        case.request(request)
        assert request.headers["user-agent"].startswith("prefect-ipaas/")

    async def test_success_gives_the_typed_result(self, case: HttpCase) -> None:
        result, _ = await perform(case, answers(case.success("fine")))
        assert _looked_at(case, result) == case.result("fine")

    async def test_a_refusal_carries_the_vendors_words_and_is_not_repeated(self, case: HttpCase) -> None:
        for answer, said in zip((case.unauthorized, case.missing), case.said, strict=True):
            error, stage = await perform(case, answers(answer))
            assert isinstance(error, RemoteError)
            assert said in str(error)
            assert not error.retriable
            assert len(stage.requests) == 1

    async def test_a_429_is_repeated_when_the_vendor_says(self, case: HttpCase) -> None:
        limited = httpx.Response(429, headers={"Retry-After": "7"}, json={"message": "slow down"})
        result, stage = await perform(case, answers(limited, case.success("fine")))
        assert not isinstance(result, Exception)
        assert stage.clock.slept == [7.0]
        assert len(stage.requests) == 2

    async def test_a_503_is_repeated_only_when_that_is_safe(self, case: HttpCase) -> None:
        result, stage = await perform(case, answers(httpx.Response(503), case.success("fine")))
        assert isinstance(result, RemoteError) is not case.repeats_safely
        assert len(stage.requests) == (2 if case.repeats_safely else 1)

    async def test_a_500_is_repeated_when_the_step_declares_it(self, case: HttpCase) -> None:
        policy = RetryPolicy(attempts=3, delay=2, on=("5xx",))
        result, stage = await perform(case, answers(httpx.Response(500), case.success("fine")), policy)
        assert not isinstance(result, Exception)
        assert stage.clock.slept == [2.0]

    async def test_a_declared_retry_replaces_the_connectors_own(self, case: HttpCase) -> None:
        policy = RetryPolicy(attempts=2, delay=1, on=(503,))
        error, stage = await perform(case, answers(httpx.Response(503, headers={"Retry-After": "0"})), policy)
        assert isinstance(error, RemoteError)
        assert error.attempts == len(stage.requests) == 2

    async def test_no_answer_in_time_is_a_timeout(self, case: HttpCase) -> None:
        error, _ = await perform(case, answers(httpx.ReadTimeout("")))
        assert isinstance(error, StepTimeout)
        assert error.retriable

    async def test_an_unreachable_vendor_is_named_by_its_host(self, case: HttpCase) -> None:
        error, stage = await perform(case, answers(httpx.ConnectError("refused")))
        assert isinstance(error, ConnectionFailed)
        assert stage.requests[0].url.host in str(error)

    async def test_a_malformed_body_is_the_vendors_error(self, case: HttpCase) -> None:
        error, _ = await perform(case, answers(case.malformed))
        assert isinstance(error, RemoteError)
        assert case.malformed_said in str(error)

    async def test_an_echoed_secret_is_masked_in_the_result(self, case: HttpCase) -> None:
        result, _ = await perform(case, answers(case.success(f"you sent {case.secret}")))
        assert _looked_at(case, result) == case.result("you sent ********")

    @pytest.mark.parametrize(
        "failure",
        [
            lambda secret: httpx.Response(400, json={"message": f"what is {secret}?"}),
            lambda secret: httpx.Response(503, text=f"{'x' * 292}{secret}", headers={"Retry-After": "1"}),
            lambda secret: httpx.Response(200, json={"ok": False, "error": secret}),
            lambda secret: httpx.ConnectError(f"no route with {secret}"),
            lambda secret: httpx.LocalProtocolError(f"illegal header {secret}"),
            lambda secret: RuntimeError(f"a bug that shows {secret}"),
        ],
        ids=["message", "cut in the middle", "word", "connection", "protocol", "bug"],
    )
    async def test_an_echoed_secret_is_in_no_error_log_or_traceback(
        self, case: HttpCase, failure: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        error, _ = await perform(case, answers(failure(case.secret)))
        shown = caplog.text
        if isinstance(error, Exception):
            shown += str(error) + repr(error) + "".join(traceback.format_exception(error))
        assert case.secret not in shown
        assert case.secret[:8] not in shown

    async def test_the_idempotency_key_is_the_same_over_retries_and_restarts(self, case: HttpCase) -> None:
        policy = RetryPolicy(attempts=3, delay=0, on=(500,))
        failing = answers(httpx.Response(500))
        _, first = await perform(case, failing, policy, execution_id="0198-a")
        _, restarted = await perform(case, failing, policy, execution_id="0198-a")
        _, other = await perform(case, failing, policy, execution_id="0198-b")
        header = case.idempotency_header or "idempotency-key"

        def keys(stage: Stage) -> set[str | None]:
            return {request.headers.get(header) for request in stage.requests}

        if case.idempotency_header:
            assert keys(first) == keys(restarted) == {f"0198-a:{case.action.action_name}"}
            assert keys(other) == {f"0198-b:{case.action.action_name}"}
        else:
            assert keys(first) == keys(restarted) == keys(other) == {None}

    async def test_a_vendor_that_keeps_failing_is_left_alone(self, case: HttpCase) -> None:
        async with acting(answers(httpx.Response(500)), {"mine": case.credential}) as stage:
            for _ in range(5):
                with pytest.raises(RemoteError):
                    await case.action(**case.arguments, credential="mine")
            sent = len(stage.requests)
            with pytest.raises(ActionError) as refused:
                await case.action(**case.arguments, credential="mine")
        assert refused.value.code == "circuit_open"
        assert len(stage.requests) == sent

    async def test_a_missing_credential_is_named(self, case: HttpCase) -> None:
        async with acting() as stage:
            with pytest.raises(IpaasError, match="'nobody'") as error:
                await case.action(**case.arguments, credential="nobody")
        assert error.value.code == "credential"
        assert stage.requests == []

    async def test_a_credential_that_is_needed_must_be_given(self, closed_case: HttpCase) -> None:
        action = closed_case.action
        kinds = " or ".join(kind.get_block_type_slug() for kind in action.credential)
        async with acting():
            with pytest.raises(IpaasError, match=f"{action.action_name} needs `credential`.* of type {kinds}"):
                await action(**closed_case.arguments, credential=None)


def _looked_at(case: HttpCase, result: Any) -> Any:
    return {key: result[key] for key in result.keys() - case.aside} if case.aside else result
