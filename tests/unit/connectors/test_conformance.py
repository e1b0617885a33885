"""Every connector keeps these promises. A new one adds its case to `conformance.py`."""

from __future__ import annotations

import inspect
import logging
import traceback
from typing import Any

import httpx
import pytest
from conformance import HTTP_CASES, LOCAL_ACTIONS, HttpCase
from prefect import Task

from connectors.kit.registry import BUILT_IN, get, registry
from connectors.kit.retry import RetryPolicy
from connectors.kit.testing import Handler, Stage, acting, answers
from foundation.errors import ActionError, ConnectionFailed, IpaasError, RemoteError, StepTimeout

on_every_action = pytest.mark.parametrize("name", list(registry()))
on_every_http_action = pytest.mark.parametrize("case", HTTP_CASES, ids=lambda case: case.action)


async def perform(
    case: HttpCase, handler: Handler, policy: RetryPolicy | None = None, execution_id: str = "execution"
) -> tuple[Any, Stage]:
    """The action's result, and where it ran; an error it raised is the result."""
    async with acting(handler, {"mine": case.credential}, policy=policy, execution_id=execution_id) as stage:
        try:
            result = await get(case.action)(**case.arguments, credential="mine")
        except IpaasError as error:
            result = error
    return result, stage


def test_every_action_has_its_case() -> None:
    assert {case.action for case in HTTP_CASES} | LOCAL_ACTIONS == {
        name for name in registry() if name.partition(".")[0] in BUILT_IN
    }


@on_every_action
def test_it_is_a_prefect_task_of_its_name(name: str) -> None:
    action = registry()[name]
    assert isinstance(action, Task)
    assert (action.name, action.action_name, action.task_key) == (name, name, name)
    assert (action.persist_result, action.retries) == (False, 0)


@on_every_action
def test_python_finds_it_where_yaml_does(name: str) -> None:
    module, _, function = name.partition(".")
    assert registry()[name].fn.__name__ == function
    assert registry()[name].fn.__module__ == f"connectors.{module}"


@on_every_action
def test_it_is_typed_and_documented(name: str) -> None:
    action = registry()[name]
    text = inspect.getdoc(action.fn) or ""
    arguments, _, results = text.partition("Args:")[2].partition("Returns:")
    for parameter in action.signature.parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert f"    {parameter.name}: " in arguments
    assert action.signature.return_annotation is not inspect.Signature.empty
    assert results.strip()
    assert action.documentation.startswith("https://")
    assert action.description == text


@on_every_http_action
async def test_the_request_is_what_the_vendor_documents(case: HttpCase) -> None:
    result, stage = await perform(case, answers(case.success("fine")))
    assert not isinstance(result, Exception)
    (request,) = stage.requests
    case.request(request)
    assert request.headers["user-agent"].startswith("prefect-ipaas/")


@on_every_http_action
async def test_success_gives_the_typed_result(case: HttpCase) -> None:
    result, _ = await perform(case, answers(case.success("fine")))
    result.pop("headers", None)  # http.request's; test_http.py has them
    assert result == case.result("fine")


@on_every_http_action
async def test_a_refusal_carries_the_vendors_words_and_is_not_repeated(case: HttpCase) -> None:
    for answer, said in zip((case.unauthorized, case.missing), case.said, strict=True):
        error, stage = await perform(case, answers(answer))
        assert isinstance(error, RemoteError)
        assert said in str(error)
        assert not error.retriable
        assert len(stage.requests) == 1


@on_every_http_action
async def test_a_429_is_repeated_when_the_vendor_says(case: HttpCase) -> None:
    limited = httpx.Response(429, headers={"Retry-After": "7"}, json={"message": "slow down"})
    result, stage = await perform(case, answers(limited, case.success("fine")))
    assert not isinstance(result, Exception)
    assert stage.clock.slept == [7.0]
    assert len(stage.requests) == 2


@on_every_http_action
async def test_a_503_is_repeated_only_when_that_is_safe(case: HttpCase) -> None:
    result, stage = await perform(case, answers(httpx.Response(503), case.success("fine")))
    assert isinstance(result, RemoteError) is not case.repeats_safely
    assert len(stage.requests) == (2 if case.repeats_safely else 1)


@on_every_http_action
async def test_a_500_is_repeated_when_the_step_declares_it(case: HttpCase) -> None:
    policy = RetryPolicy(attempts=3, delay=2, on=("5xx",))
    result, stage = await perform(case, answers(httpx.Response(500), case.success("fine")), policy)
    assert not isinstance(result, Exception)
    assert stage.clock.slept == [2.0]


@on_every_http_action
async def test_a_declared_retry_replaces_the_connectors_own(case: HttpCase) -> None:
    policy = RetryPolicy(attempts=2, delay=1, on=(503,))
    error, stage = await perform(case, answers(httpx.Response(503, headers={"Retry-After": "0"})), policy)
    assert isinstance(error, RemoteError)
    assert error.attempts == len(stage.requests) == 2


@on_every_http_action
async def test_no_answer_in_time_is_a_timeout(case: HttpCase) -> None:
    error, _ = await perform(case, answers(httpx.ReadTimeout("")))
    assert isinstance(error, StepTimeout)
    assert error.retriable


@on_every_http_action
async def test_an_unreachable_vendor_is_named_by_its_host(case: HttpCase) -> None:
    error, stage = await perform(case, answers(httpx.ConnectError("refused")))
    assert isinstance(error, ConnectionFailed)
    assert stage.requests[0].url.host in str(error)


@on_every_http_action
async def test_a_malformed_body_is_the_vendors_error(case: HttpCase) -> None:
    error, _ = await perform(case, answers(case.malformed))
    assert isinstance(error, RemoteError)
    assert "malformed JSON" in str(error)


@on_every_http_action
async def test_an_echoed_secret_is_masked_in_the_result(case: HttpCase) -> None:
    result, _ = await perform(case, answers(case.success(f"you sent {case.secret}")))
    result.pop("headers", None)
    assert result == case.result("you sent ********")


@on_every_http_action
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
    case: HttpCase, failure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    error, _ = await perform(case, answers(failure(case.secret)))
    shown = caplog.text
    if isinstance(error, Exception):
        shown += str(error) + repr(error) + "".join(traceback.format_exception(error))
    assert case.secret not in shown
    assert case.secret[:8] not in shown


@on_every_http_action
async def test_the_idempotency_key_is_the_same_over_retries_and_restarts(case: HttpCase) -> None:
    policy = RetryPolicy(attempts=3, delay=0, on=(500,))
    failing = answers(httpx.Response(500))
    _, first = await perform(case, failing, policy, execution_id="0198-a")
    _, restarted = await perform(case, failing, policy, execution_id="0198-a")
    _, other = await perform(case, failing, policy, execution_id="0198-b")
    header = case.idempotency_header or "idempotency-key"

    def keys(stage: Stage) -> set[str | None]:
        return {request.headers.get(header) for request in stage.requests}

    if case.idempotency_header:
        assert keys(first) == keys(restarted) == {f"0198-a:{case.action}"}
        assert keys(other) == {f"0198-b:{case.action}"}
    else:
        assert keys(first) == keys(restarted) == keys(other) == {None}


@on_every_http_action
async def test_a_vendor_that_keeps_failing_is_left_alone(case: HttpCase) -> None:
    async with acting(answers(httpx.Response(500)), {"mine": case.credential}) as stage:
        for _ in range(5):
            with pytest.raises(RemoteError):
                await get(case.action)(**case.arguments, credential="mine")
        sent = len(stage.requests)
        with pytest.raises(ActionError) as refused:
            await get(case.action)(**case.arguments, credential="mine")
    assert refused.value.code == "circuit_open"
    assert len(stage.requests) == sent


@on_every_http_action
async def test_a_missing_credential_is_named(case: HttpCase) -> None:
    async with acting() as stage:
        with pytest.raises(IpaasError, match="'nobody'") as error:
            await get(case.action)(**case.arguments, credential="nobody")
    assert error.value.code == "credential"
    assert stage.requests == []


@pytest.mark.parametrize("name", [name for name, action in registry().items() if action.credential_required])
async def test_a_credential_that_is_needed_must_be_given(name: str) -> None:
    action = registry()[name]
    case = next(case for case in HTTP_CASES if case.action == name)
    async with acting():
        with pytest.raises(IpaasError, match=f"{name} needs `credential`.* of type {action.connector}"):
            await action(**case.arguments, credential=None)
