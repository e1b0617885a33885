"""What becomes of a flow run and its execution, for everything that each of them can say."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from prefect.client.schemas.objects import StateType

from flows.history import Status
from ipaas.worker.verdict import MOST_RUNS, REPLACED, STALE_SECONDS, ExecutionFacts, RunFacts, Verdict, decide

V = Verdict
SCHEDULED, PENDING, RUNNING, PAUSED = StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED
CRASHED, CANCELLING, CANCELLED = StateType.CRASHED, StateType.CANCELLING, StateType.CANCELLED
FAILED, COMPLETED = StateType.FAILED, StateType.COMPLETED
ENDED = [status for status in Status if status.is_final]
EXECUTIONS = {
    "none": None,
    "accepted": ExecutionFacts(Status.ACCEPTED),
    "held": ExecutionFacts(Status.RUNNING, is_held=True, runs=1),
    "lost": ExecutionFacts(Status.RUNNING, runs=1),
    "waiting": ExecutionFacts(Status.WAITING, runs=0),
    "of another run": ExecutionFacts(Status.ACCEPTED, is_of_this_run=False),
    "failed": ExecutionFacts(Status.FAILED, runs=1),
    "succeeded": ExecutionFacts(Status.SUCCEEDED, runs=1),
}
TABLE = {
    # By the executions above, in their order.
    SCHEDULED: (V.LEAVE, V.LEAVE, V.LEAVE, V.HAND_BACK, V.LEAVE, V.REPLACE, V.LEAVE, V.TELL_PREFECT),
    PENDING: (V.LEAVE, V.LEAVE, V.LEAVE, V.LEAVE, V.SHOW_WAITING, V.LEAVE, V.TELL_PREFECT, V.TELL_PREFECT),
    RUNNING: (V.LEAVE, V.LEAVE, V.LEAVE, V.RUN_AGAIN, V.SHOW_WAITING, V.LEAVE, V.TELL_PREFECT, V.TELL_PREFECT),
    PAUSED: (V.LEAVE, V.LEAVE, V.LEAVE, V.HAND_BACK, V.LEAVE, V.REPLACE, V.TELL_PREFECT, V.TELL_PREFECT),
    CRASHED: (V.RUN_AGAIN, V.RUN_AGAIN, V.LEAVE, V.RUN_AGAIN, V.SHOW_WAITING, V.LEAVE, V.LEAVE, V.LEAVE),
    CANCELLING: (V.CANCEL, V.CANCEL, V.ASK_TO_CANCEL, V.CANCEL, V.CANCEL, V.REPLACE, V.TELL_PREFECT, V.TELL_PREFECT),
    CANCELLED: (V.LEAVE, V.CANCEL, V.ASK_TO_CANCEL, V.CANCEL, V.CANCEL, V.LEAVE, V.LEAVE, V.LEAVE),
    FAILED: (
        V.LEAVE,
        V.END_AS_PREFECT_SAYS,
        V.LEAVE,
        V.END_AS_PREFECT_SAYS,
        V.END_AS_PREFECT_SAYS,
        V.LEAVE,
        V.LEAVE,
        V.LEAVE,
    ),
    COMPLETED: (
        V.LEAVE,
        V.END_AS_PREFECT_SAYS,
        V.LEAVE,
        V.END_AS_PREFECT_SAYS,
        V.END_AS_PREFECT_SAYS,
        V.LEAVE,
        V.LEAVE,
        V.LEAVE,
    ),
}
"""For a run that has just got this state, has a deployment, and lies in a queue."""


@pytest.mark.parametrize(("state", "execution"), list(product(TABLE, EXECUTIONS)))
def test_the_table(state: StateType, execution: str) -> None:
    expected = dict(zip(EXECUTIONS, TABLE[state], strict=True))[execution]

    assert decide(RunFacts(state), EXECUTIONS[execution]) is expected


def test_the_table_has_every_state() -> None:
    assert set(TABLE) == set(StateType)


@pytest.mark.parametrize(
    ("execution", "verdict"),
    [
        ("none", V.LEAVE),
        ("accepted", V.DISPATCH_AGAIN),
        ("held", V.LEAVE),
        ("lost", V.DISPATCH_AGAIN),
        ("waiting", V.LEAVE),
        ("failed", V.LEAVE),
        ("succeeded", V.LEAVE),
    ],
)
def test_a_run_that_prefect_does_not_know_any_more(execution: str, verdict: Verdict) -> None:
    assert decide(None, EXECUTIONS[execution]) is verdict


@pytest.mark.parametrize(
    ("state", "execution", "verdict"),
    [
        (PENDING, "none", V.RUN_AGAIN),
        (PENDING, "accepted", V.RUN_AGAIN),
        (PENDING, "lost", V.RUN_AGAIN),
        (PENDING, "held", V.LEAVE),
        (PENDING, "of another run", V.REPLACE),
        (RUNNING, "none", V.RUN_AGAIN),
        (RUNNING, "accepted", V.RUN_AGAIN),
        (RUNNING, "lost", V.RUN_AGAIN),
        (RUNNING, "held", V.LEAVE),
        (RUNNING, "of another run", V.REPLACE),
    ],
)
def test_what_nobody_went_on_with_for_long(state: StateType, execution: str, verdict: Verdict) -> None:
    assert decide(RunFacts(state, age=STALE_SECONDS), EXECUTIONS[execution]) is verdict


@pytest.mark.parametrize("execution", ["none", "accepted", "lost"])
def test_what_was_taken_by_a_process_that_died_before_it_began_it(execution: str) -> None:
    assert decide(RunFacts(PENDING, taker_is_dead=True), EXECUTIONS[execution]) is V.RUN_AGAIN


@pytest.mark.parametrize(
    ("state", "execution", "verdict"),
    [
        (SCHEDULED, "none", V.REPLACE),
        (SCHEDULED, "accepted", V.DISPATCH_AGAIN),
        (SCHEDULED, "lost", V.DISPATCH_AGAIN),
        (SCHEDULED, "failed", V.LEAVE),
        (RUNNING, "lost", V.DISPATCH_AGAIN),
        (RUNNING, "held", V.LEAVE),
        (CRASHED, "none", V.REPLACE),
        (CRASHED, "accepted", V.DISPATCH_AGAIN),
        (CANCELLING, "lost", V.CANCEL),
        (FAILED, "lost", V.END_AS_PREFECT_SAYS),
    ],
)
def test_a_run_whose_deployment_is_gone_can_not_be_scheduled(
    state: StateType, execution: str, verdict: Verdict
) -> None:
    assert decide(RunFacts(state, is_deployed=False), EXECUTIONS[execution]) is verdict


@pytest.mark.parametrize(
    ("execution", "verdict"),
    [("none", V.FETCH), ("accepted", V.FETCH), ("lost", V.HAND_BACK), ("held", V.LEAVE), ("failed", V.LEAVE)],
)
def test_a_run_whose_queue_is_gone_is_given_to_no_worker(execution: str, verdict: Verdict) -> None:
    assert decide(RunFacts(SCHEDULED, is_queued=False), EXECUTIONS[execution]) is verdict


@pytest.mark.parametrize("run", [None, RunFacts(RUNNING), RunFacts(CRASHED), RunFacts(SCHEDULED)])
def test_what_takes_its_worker_down_each_time_is_given_up(run: RunFacts | None) -> None:
    before, worn = (ExecutionFacts(Status.RUNNING, runs=count) for count in (MOST_RUNS - 1, MOST_RUNS))

    assert decide(run, before) is not V.GIVE_UP
    assert decide(run, worn) is V.GIVE_UP
    assert decide(run, replace(worn, is_held=True)) is V.LEAVE


@pytest.mark.parametrize("status", ENDED)
def test_retry_in_prefects_ui_waits_for_its_turn_when_the_execution_failed(status: Status) -> None:
    verdict = decide(RunFacts(SCHEDULED, state_name="AwaitingRetry"), ExecutionFacts(status))

    assert verdict is (V.LEAVE if status in (Status.FAILED, Status.TIMED_OUT) else V.TELL_PREFECT)


def test_a_run_that_we_replaced_does_not_cancel_its_execution() -> None:
    assert decide(RunFacts(CANCELLED, state_name=REPLACED), EXECUTIONS["accepted"]) is V.LEAVE


def test_whatever_is_said_has_a_verdict() -> None:
    runs = [
        RunFacts(state, age=age, taker_is_dead=dead, is_deployed=deployed, is_queued=queued)
        for state, age, dead, deployed, queued in product(StateType, (0, STALE_SECONDS), *[(False, True)] * 3)
    ]
    executions = [
        ExecutionFacts(status, is_held=held and status is Status.RUNNING, is_of_this_run=its, runs=runs_of_it)
        for status, held, its, runs_of_it in product(Status, (False, True), (False, True), (0, MOST_RUNS))
    ]
    for run, execution in product([None, *runs], [None, *executions]):
        verdict = decide(run, execution)
        assert isinstance(verdict, Verdict)
        if execution and execution.is_held:
            assert verdict in (V.LEAVE, V.ASK_TO_CANCEL), "what a living process runs is its own"
        if execution and execution.status.is_final:
            assert verdict in (V.LEAVE, V.TELL_PREFECT), "what has ended stays ended"
        if execution is None:
            assert verdict not in (V.TELL_PREFECT, V.END_AS_PREFECT_SAYS, V.HAND_BACK, V.DISPATCH_AGAIN, V.GIVE_UP)


@pytest.mark.parametrize(
    ("name", "admitted", "verdict"),
    [("Waiting", True, V.WAKE), ("Waiting", False, V.LEAVE), ("Suspended", True, V.LEAVE)],
)
def test_a_run_that_is_paused_goes_on_once_its_execution_has_its_turn(
    name: str, admitted: bool, verdict: Verdict
) -> None:
    """What somebody paused by himself is left alone."""
    accepted = ExecutionFacts(Status.ACCEPTED, is_admitted=admitted)
    assert decide(RunFacts(PAUSED, state_name=name), accepted) is verdict


@pytest.mark.parametrize(
    ("run", "execution", "verdict"),
    [
        (None, ExecutionFacts(Status.RUNNING, is_held=True, is_express=True), Verdict.LEAVE),
        (None, ExecutionFacts(Status.RUNNING, is_express=True, runs=1), Verdict.HAND_BACK),
        (None, ExecutionFacts(Status.RUNNING, is_express=True, runs=20), Verdict.GIVE_UP),
        (RunFacts(StateType.RUNNING, age=99), ExecutionFacts(Status.RUNNING, is_express=True), Verdict.HAND_BACK),
        (RunFacts(StateType.RUNNING, age=99), ExecutionFacts(Status.SUCCEEDED, is_express=True), Verdict.LEAVE),
        (RunFacts(StateType.PAUSED, age=99), ExecutionFacts(Status.WAITING, is_express=True), Verdict.LEAVE),
        (RunFacts(StateType.CANCELLING), ExecutionFacts(Status.WAITING, is_express=True), Verdict.CANCEL),
        (
            RunFacts(StateType.CANCELLING),
            ExecutionFacts(Status.RUNNING, is_held=True, is_express=True),
            Verdict.ASK_TO_CANCEL,
        ),
    ],
)
def test_an_express_execution_is_the_history_s_alone(
    run: RunFacts | None, execution: ExecutionFacts, verdict: Verdict
) -> None:
    assert decide(run, execution) is verdict
