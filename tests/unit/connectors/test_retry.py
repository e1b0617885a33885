"""When a failed call is tried again, and after how long."""

from __future__ import annotations

import pytest

from connectors.kit.retry import RetryPolicy, SafeRetries, retried
from foundation.clock import ManualClock
from foundation.errors import ActionError, CircuitOpen, ConnectionFailed, IpaasError, RemoteError, StepTimeout


def remote(status: int, retry_after: float | None = None) -> RemoteError:
    return RemoteError("no", status=status, retriable=status == 429 or status >= 500, retry_after=retry_after)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("constant", [1, 1, 1, 1, 1]), ("linear", [1, 2, 3, 4, 5]), ("exponential", [1, 2, 4, 5, 5])],
)
def test_the_delay_grows_as_declared_up_to_its_maximum(backoff, delays) -> None:
    policy = RetryPolicy(attempts=6, delay=1, backoff=backoff, max_delay=5)
    assert [policy.wait(attempt, remote(500)) for attempt in range(1, 6)] == delays


def test_a_late_attempt_of_an_exponential_policy_still_has_a_delay() -> None:
    assert RetryPolicy(attempts=10_000, max_delay=30).wait(9_999, remote(500)) == 30


@pytest.mark.parametrize(("asked", "waited"), [(None, 2), (1, 2), (20, 20), (86_400, 300)])
def test_retry_after_wins_when_it_is_longer_up_to_five_minutes(asked, waited) -> None:
    assert RetryPolicy(delay=2).wait(1, remote(429, asked)) == waited


@pytest.mark.parametrize(
    ("item", "covered", "not_covered"),
    [
        (429, remote(429), remote(428)),
        ("429", remote(429), remote(500)),
        ("5xx", remote(599), remote(499)),
        ("4xx", remote(404), remote(500)),
        ("timeout", StepTimeout("late"), ConnectionFailed("gone")),
        ("connection", ConnectionFailed("gone"), StepTimeout("late")),
        ("connection", CircuitOpen("open"), ActionError("no")),
    ],
)
def test_on_names_what_is_retried(item, covered, not_covered) -> None:
    policy = RetryPolicy(on=(item,))
    assert policy.covers(covered)
    assert not policy.covers(not_covered)


def test_without_on_the_error_itself_says_whether_it_is_retriable() -> None:
    assert RetryPolicy().covers(ActionError("busy", retriable=True))
    assert not RetryPolicy().covers(ActionError("wrong"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "get"])
def test_safe_methods_are_repeated(method) -> None:
    retries = SafeRetries(method)
    assert all(retries.covers(remote(status)) for status in (429, 502, 503, 504))
    assert retries.covers(ConnectionFailed("broke"))
    assert not any(retries.covers(remote(status)) for status in (400, 401, 404, 500, 501))
    assert not retries.covers(StepTimeout("late"))


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_other_methods_are_repeated_only_when_the_other_side_asks(method) -> None:
    retries = SafeRetries(method)
    assert retries.covers(remote(429, 1))
    assert retries.covers(remote(503, 1))
    assert not any(retries.covers(remote(status)) for status in (429, 502, 503, 504))
    assert not retries.covers(remote(502, 1))
    assert not retries.covers(ConnectionFailed("broke"))


def test_the_connectors_own_waits_have_jitter_and_keep_to_a_minute() -> None:
    waits = [[SafeRetries("GET").wait(attempt, remote(503)) for _ in range(50)] for attempt in (1, 2)]
    assert all(0.5 <= wait <= 1.0 for wait in waits[0])
    assert all(1.0 <= wait <= 2.0 for wait in waits[1])
    assert len(set(waits[0])) > 1
    assert SafeRetries("GET").wait(1, remote(503, 7)) == 7
    assert SafeRetries("GET").wait(1, remote(503, 3600)) == 60


async def test_it_tries_until_it_succeeds_and_tells_of_each_retry() -> None:
    clock, notes = ManualClock(), []

    async def third_time_lucky(attempt: int) -> str:
        if attempt < 3:
            raise remote(500)
        return f"attempt {attempt}"

    result = await retried(third_time_lucky, RetryPolicy(attempts=3, delay=1), clock=clock, note=notes.append)
    assert result == "attempt 3"
    assert clock.slept == [1, 2]
    assert notes == ["attempt 2 of 3 in 1.0 s: no", "attempt 3 of 3 in 2.0 s: no"]


@pytest.mark.parametrize(("error", "tries"), [(remote(500), 3), (remote(404), 1)])
async def test_it_gives_up_after_its_attempts_or_when_trying_again_cannot_help(error, tries) -> None:
    made = []

    async def always(attempt: int) -> None:
        made.append(attempt)
        raise error

    with pytest.raises(IpaasError) as raised:
        await retried(always, RetryPolicy(attempts=3), clock=ManualClock(), note=lambda line: None)
    assert raised.value is error
    assert made == list(range(1, tries + 1))
