"""One step: its attempts, its timeout, and what of a failure may be seen."""

from __future__ import annotations

import asyncio
import logging
import traceback

import httpx
import pytest

from connectors import http, log
from connectors.kit.attempts import run_attempts
from connectors.kit.call import Call, current_call
from connectors.kit.retry import RetryPolicy
from connectors.kit.testing import acting, answers
from foundation.errors import ActionError, RemoteError, StepTimeout


async def attempts_of(body, *, policy=None, timeout=None, secret=None):
    """What `run_attempts` makes of `body`, and the clock it waited by."""
    async with acting() as stage:
        if secret:
            stage.services.masker.add(secret)
        call = Call(stage.services, "execution", "step")
        return await run_attempts("log.message", body, call=call, policy=policy, timeout=timeout), stage.clock


async def test_the_result_comes_with_the_number_of_attempts() -> None:
    async def body():
        attempt = current_call.get().attempt
        if attempt < 3:
            raise RemoteError("busy", status=503, retriable=True)
        return {"attempt": attempt}

    (result, attempts), clock = await attempts_of(body, policy=RetryPolicy(attempts=5, delay=1))
    assert (result, attempts) == ({"attempt": 3}, 3)
    assert clock.slept == [1, 2]


async def test_the_error_says_how_many_attempts_were_made() -> None:
    async def body():
        raise RemoteError("busy", status=503, retriable=True)

    with pytest.raises(RemoteError) as error:
        await attempts_of(body, policy=RetryPolicy(attempts=4, delay=0))
    assert error.value.attempts == 4


async def test_without_a_policy_there_is_one_attempt_and_the_connector_may_retry_by_itself() -> None:
    declared = []

    async def body():
        declared.append(current_call.get().retry_declared)
        raise RemoteError("busy", status=503, retriable=True)

    with pytest.raises(RemoteError) as error:
        await attempts_of(body)
    assert error.value.attempts == 1
    assert declared == [False]


@pytest.mark.parametrize(("last", "attempts"), [(200, 3), (404, 3)])
async def test_requests_that_the_connector_repeats_count_as_attempts(last, attempts) -> None:
    busy = httpx.Response(503)
    async with acting(answers(busy, busy, httpx.Response(last))) as stage:
        call = Call(stage.services, "execution", "step")
        body = lambda: http.request.fn(url="http://127.0.0.1:9/")  # noqa: E731
        if last == 200:
            _, made = await run_attempts("http.request", body, call=call)
        else:
            with pytest.raises(RemoteError) as error:
                await run_attempts("http.request", body, call=call)
            made = error.value.attempts
    assert made == attempts


async def test_each_retry_is_logged_masked(caplog) -> None:
    async def body():
        raise RemoteError("no key-1234 here", status=503, retriable=True)

    with pytest.raises(RemoteError):
        await attempts_of(body, policy=RetryPolicy(attempts=2, delay=1), secret="key-1234")
    assert "attempt 2 of 2 in 1.0 s: no ******** here" in caplog.messages


async def test_a_step_past_its_timeout_fails_and_may_be_tried_again() -> None:
    async def body():
        if current_call.get().attempt == 1:
            await asyncio.Event().wait()
        return "in time"

    with pytest.raises(StepTimeout, match=r"log.message took longer than its timeout of 0.01 s") as error:
        await attempts_of(body, timeout=0.01)
    assert error.value.retriable
    (result, attempts), _ = await attempts_of(body, timeout=0.01, policy=RetryPolicy(attempts=2, on=("timeout",)))
    assert (result, attempts) == ("in time", 2)


async def test_an_actions_own_timeout_error_is_not_the_steps_timeout() -> None:
    async def body():
        raise TimeoutError("the library's own")

    with pytest.raises(ActionError, match="TimeoutError: the library's own") as error:
        await attempts_of(body, timeout=60)
    assert not isinstance(error.value, StepTimeout)


async def test_a_bug_in_an_action_is_one_masked_line_and_its_traceback_is_logged_masked(caplog) -> None:
    async def body():
        raise ValueError("bad\n  key-1234")

    with pytest.raises(ActionError) as error:
        await attempts_of(body, secret="key-1234")
    assert str(error.value) == "ValueError: bad ********"
    assert "test_attempts.py" in caplog.text
    assert "key-1234" not in caplog.text


async def test_what_caused_an_error_does_not_come_along() -> None:
    secret = "-".join(["key", "1234"])  # not in the source lines that a traceback quotes

    async def body():
        try:
            raise ValueError(secret)
        except ValueError as cause:
            raise ActionError("could not do it") from cause

    with pytest.raises(ActionError) as error:
        await attempts_of(body, secret=secret)
    assert secret not in "".join(traceback.format_exception(error.value))


async def test_the_result_is_masked() -> None:
    async def body():
        return {"echo": ["key-1234"]}

    (result, _), _ = await attempts_of(body, secret="key-1234")
    assert result == {"echo": ["********"]}


async def test_a_cancelled_step_is_cancelled_and_not_retried() -> None:
    started, tries = asyncio.Event(), []

    async def body():
        tries.append(1)
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(attempts_of(body, policy=RetryPolicy(attempts=3, delay=0), timeout=60))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(tries) == 1


async def test_outside_its_attempts_there_is_no_current_call() -> None:
    async def body():
        return current_call.get().path

    (result, _), _ = await attempts_of(body)
    assert result == "step"
    assert current_call.get(None) is None


async def test_log_messages_go_to_the_steps_logger_masked(caplog) -> None:
    caplog.set_level(logging.DEBUG, logger="ipaas.step")
    async with acting() as stage:
        stage.services.masker.add("key-1234")
        result = await log.message(text="50% of key-1234", level="warning")
    assert result == {"text": "50% of ********"}
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", "50% of ********")]
