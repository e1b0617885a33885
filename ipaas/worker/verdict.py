"""What to do with a flow run and its execution, by what each of them says: one table, which does nothing itself.

Whatever ended in between (a worker, Prefect's server, a database, somebody's click in the UI), the two can disagree.
The history is believed for what has ended and for who runs what; Prefect for what its users asked of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prefect.client.schemas.objects import StateType

from flows.history import Status
from flows.on_prefect.pausing import WAITING

MOST_RUNS: Final = 20
"""How often an execution is begun, restarts of the platform included, before it is taken for what kills its worker."""
STALE_SECONDS: Final = 20.0
"""How long a run may be pending, or running with nobody who runs its execution, before nobody is about to begin it."""
REPLACED: Final = "Replaced"
"""The state's name of a run that we ended because its execution has another one."""


class Verdict(StrEnum):
    LEAVE = "leave"
    TELL_PREFECT = "tell Prefect"
    """The flow run ends as the execution ended."""
    END_AS_PREFECT_SAYS = "end as Prefect says"
    """The execution ends as the flow run ended."""
    CANCEL = "cancel"
    """Nobody runs it: both end as cancelled."""
    ASK_TO_CANCEL = "ask to cancel"
    """Somebody runs it and may have missed that it was cancelled in Prefect."""
    RUN_AGAIN = "run again"
    """The same flow run is scheduled anew, and goes on after its last finished step."""
    HAND_BACK = "hand back"
    """Nobody runs the execution any more, and its flow run is scheduled already."""
    FETCH = "fetch"
    """The flow run is scheduled, but lies in no queue that a worker fetches from."""
    DISPATCH_AGAIN = "dispatch again"
    """The execution gets a new flow run: its own is gone, or can't be scheduled."""
    SHOW_WAITING = "show that it waits"
    """The flow run is paused: its execution waits for something outside."""
    WAKE = "wake"
    """What the execution waited for has come, and the flow run is paused still: it is scheduled."""
    GIVE_UP = "give up"
    """It took its worker down each time: it fails, and can be replayed."""
    REPLACE = "replace"
    """The flow run ends: its execution has another one, or it has none and its deployment is gone."""


@dataclass(frozen=True)
class RunFacts:
    """A flow run that Prefect knows."""

    state: StateType
    state_name: str = ""
    age: float = 0.0
    """Seconds in this state."""
    taker_is_dead: bool = False
    """A process of this machine took it, and died before it began."""
    is_deployed: bool = True
    """Its deployment exists: without one it can't be scheduled."""
    is_queued: bool = True
    """It lies in a queue of a work pool: without one no worker fetches it."""


@dataclass(frozen=True)
class ExecutionFacts:
    status: Status
    is_held: bool = False
    """Some process runs it and gives signs of life."""
    is_of_this_run: bool = True
    """False: it has another flow run by now."""
    is_admitted: bool = False
    is_express: bool = False
    """A worker begins it by itself, and Prefect is told of it."""
    runs: int = 0
    """How often it was begun since it last waited for something outside."""

    @property
    def lost(self) -> bool:
        """It was begun, and its process is gone."""
        return self.status is Status.RUNNING and not self.is_held


def decide(run: RunFacts | None, execution: ExecutionFacts | None) -> Verdict:
    if execution is None:
        return _without_execution(run)
    if execution.is_express:
        return _express(run, execution)
    if execution.status.is_final:
        return _ended(run, execution)
    if run is None:
        waits = execution.is_held or execution.status is Status.WAITING
        return Verdict.LEAVE if waits else _again(execution, Verdict.DISPATCH_AGAIN)
    if not execution.is_of_this_run:
        return _other_run(run, execution)
    if run.state in (StateType.CANCELLED, StateType.CANCELLING):
        if run.state_name == REPLACED:
            return Verdict.LEAVE
        return Verdict.ASK_TO_CANCEL if execution.is_held else Verdict.CANCEL
    if execution.is_held:
        return Verdict.LEAVE
    if run.state in (StateType.FAILED, StateType.COMPLETED):
        return Verdict.END_AS_PREFECT_SAYS
    if execution.status is Status.WAITING:
        # One that is scheduled was resumed in Prefect: the worker that takes it sees to it.
        return Verdict.LEAVE if run.state in (StateType.SCHEDULED, StateType.PAUSED) else Verdict.SHOW_WAITING
    if run.state in (StateType.SCHEDULED, StateType.PAUSED):
        return _scheduled(run, execution)
    if _is_being_begun(run, begun=execution.lost):
        return Verdict.LEAVE
    return _again(execution, Verdict.RUN_AGAIN if run.is_deployed else Verdict.DISPATCH_AGAIN)


def _express(run: RunFacts | None, execution: ExecutionFacts) -> Verdict:
    """Prefect is told of it by whoever runs it, or from the history: nothing but what its users ask is its own."""
    if execution.status.is_final:
        return Verdict.LEAVE
    if run and run.state in (StateType.CANCELLED, StateType.CANCELLING):
        return Verdict.ASK_TO_CANCEL if execution.is_held else Verdict.CANCEL
    return _again(execution, Verdict.HAND_BACK) if execution.lost else Verdict.LEAVE


def _without_execution(run: RunFacts | None) -> Verdict:
    """Prefect made the run itself, and no worker has met it yet; or it is no run of ours at all."""
    if run is None or run.state in (StateType.CANCELLED, StateType.FAILED, StateType.COMPLETED, StateType.PAUSED):
        return Verdict.LEAVE
    if run.state is StateType.CANCELLING:
        return Verdict.CANCEL
    if run.state is StateType.SCHEDULED:
        if not run.is_deployed:
            return Verdict.REPLACE
        return Verdict.LEAVE if run.is_queued else Verdict.FETCH
    if _is_being_begun(run, begun=False):
        return Verdict.LEAVE
    return Verdict.RUN_AGAIN if run.is_deployed else Verdict.REPLACE


def _ended(run: RunFacts | None, execution: ExecutionFacts) -> Verdict:
    if run is None or _has_ended(run):
        return Verdict.LEAVE
    asked_to_retry = run.state is StateType.SCHEDULED and execution.status in (Status.FAILED, Status.TIMED_OUT)
    return Verdict.LEAVE if asked_to_retry and execution.is_of_this_run else Verdict.TELL_PREFECT


def _other_run(run: RunFacts, execution: ExecutionFacts) -> Verdict:
    """Whatever was done to it in Prefect is not meant for the execution, which has a run of its own."""
    if _has_ended(run) or execution.is_held:
        return Verdict.LEAVE
    return Verdict.LEAVE if _is_being_begun(run, begun=False) else Verdict.REPLACE


def _scheduled(run: RunFacts, execution: ExecutionFacts) -> Verdict:
    if not run.is_deployed:
        return _again(execution, Verdict.DISPATCH_AGAIN)
    if execution.lost:
        return _again(execution, Verdict.HAND_BACK)
    if run.state is StateType.PAUSED and run.state_name == WAITING and execution.is_admitted:
        return Verdict.WAKE
    return Verdict.LEAVE if run.is_queued or run.state is StateType.PAUSED else Verdict.FETCH


def _again(execution: ExecutionFacts, how: Verdict) -> Verdict:
    return Verdict.GIVE_UP if execution.lost and execution.runs >= MOST_RUNS else how


def _is_being_begun(run: RunFacts, *, begun: bool) -> bool:
    """A process may have taken it just now. An execution that was begun and lost is past that once its run runs."""
    beginning = run.state is StateType.PENDING or (run.state is StateType.RUNNING and not begun)
    return beginning and not run.taker_is_dead and run.age < STALE_SECONDS


def _has_ended(run: RunFacts) -> bool:
    return run.state in (StateType.CANCELLED, StateType.FAILED, StateType.COMPLETED, StateType.CRASHED)
