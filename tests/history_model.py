"""A history as a simple model, and random callers who try to make a store differ from it.

The callers are those of a real platform, in any order: gateways, dispatchers, workers (also such that lost their
execution and do not know), reconciliation, people who cancel, replay and change limits. A lease or a claim that is over
is one of negative length, so that nobody has to wait for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flows.history import (
    Accepted,
    Execution,
    HistoryStore,
    Hold,
    Key,
    NewExecution,
    Refusal,
    Status,
    StepExecution,
    Trigger,
    WorkflowVersion,
)
from flows.history.documents import from_document
from foundation.ids import new_id

R = TypeVar("R")
T = TypeVar("T")

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LONG, OVER = 3_600.0, -1.0  # seconds
DECLARED: dict[str, Any] = {
    "waits": {"limit": 2},
    "cancels": {"limit": 2, "overflow": "cancel"},
    "by-key": [{"limit": 2}, {"limit": 1, "key": "event.customer"}],
    "latest": [{"limit": 2}, {"limit": 1, "key": "event.customer", "overflow": "latest"}],
}
WORKFLOWS = tuple(DECLARED)
CUSTOMERS = "abc"
OWNERS = ("one/1", "two/2")
PATHS = ("a", "b", "loop[0].a")
ENDS = (Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED, Status.SKIPPED)

Pick = st.integers(min_value=0, max_value=5)
"""Which of those there are, counted from the newest: few, so that the same ones meet with much. See `one_of`."""


@dataclass
class Expected:
    """What the model knows of an execution."""

    id: str
    workflow: str
    flow_run: str | None
    steps: dict[str, tuple[Status, Any]]
    customer: str = ""
    has_arrived: bool = False
    """Whoever admits has seen it."""
    status: Status = Status.ACCEPTED
    is_admitted: bool = False
    is_claimed: bool = False
    owner: str | None = None
    runs: int = 0
    has_lease: bool = False
    output: Any = None
    cancel: Any = None

    @property
    def hold(self) -> Hold:
        return Hold(self.id, self.owner, self.runs)

    def end(self, status: Status, output: Any = None) -> None:
        self.status, self.output, self.owner, self.has_lease, self.is_claimed = status, output, None, False, False
        open_ends = status if status in (Status.FAILED, Status.TIMED_OUT) else Status.CANCELLED
        for path, (step, value) in self.steps.items():
            if step is Status.RUNNING:
                self.steps[path] = (open_ends, value)


@dataclass
class Model:
    limits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WORKFLOWS, 2))
    executions: dict[str, Expected] = field(default_factory=dict)
    """In the order they were accepted."""
    deliveries: dict[str, str] = field(default_factory=dict)
    stale: list[Hold] = field(default_factory=list)
    """Of callers who have lost their execution, one way or the other."""

    def room(self, workflow: str) -> int:
        return max(self.limits[workflow] - self.slots()[workflow], 0)

    def slots(self) -> Counter[str]:
        return Counter(one.workflow for one in self.of(lambda one: one.is_admitted and not one.status.is_final))

    def of(self, condition: Callable[[Expected], bool]) -> list[Expected]:
        return [one for one in self.executions.values() if condition(one)]

    def waiting(self, workflow: str) -> list[Expected]:
        return self.of(lambda one: one.workflow == workflow and one.status is Status.ACCEPTED and not one.is_admitted)

    def may_start(self, one: Expected) -> bool:
        """It has room, and so has its key."""
        return bool(self.room(one.workflow)) and not (one.customer and self.running_of(one))

    def running_of(self, one: Expected) -> list[Expected]:
        def is_alike(other: Expected) -> bool:
            return (other.workflow, other.customer) == (one.workflow, one.customer)

        return self.of(lambda other: is_alike(other) and other.is_admitted and not other.status.is_final)

    def available(self, workflow: str) -> list[Expected]:
        """Those that may be admitted, in order."""
        found: list[Expected] = []
        for one in self.waiting(workflow):
            alike = [other for other in found if other.customer == one.customer]
            if len(found) < self.room(workflow) and not (one.customer and (alike or self.running_of(one))):
                found.append(one)
        return found

    def arrive(self, workflow: str) -> None:
        """Of those that wait for their key, the newest one is left, and the oldest where it may start."""
        new = [one for one in self.waiting(workflow) if not one.has_arrived]
        for customer in {one.customer for one in new}:
            alike = [one for one in self.waiting(workflow) if one.customer == customer]
            for one in alike[0 if self.running_of(alike[0]) else 1 : -1]:
                one.end(Status.SKIPPED)
        for one in new:
            one.has_arrived = True

    def to_dispatch(self, workflow: str) -> list[Expected]:
        def is_free(one: Expected) -> bool:
            return one.is_admitted and one.status is Status.ACCEPTED and not one.flow_run and not one.is_claimed

        return self.of(lambda one: one.workflow == workflow and is_free(one))


class HistoryMachine(RuleBasedStateMachine):
    """Subclasses say where the store comes from."""

    def __init__(self, fresh: Callable[[], HistoryStore]) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store, self.model = fresh(), Model()
        self.accepted = 0

    def do(self, call: Awaitable[R]) -> R:
        async def wait() -> R:
            return await call

        return self.loop.run_until_complete(wait())

    def teardown(self) -> None:
        try:
            self.everything_is_as_the_model_says()
            self.do(self.store.close())
        finally:
            self.loop.close()

    @initialize()
    def publish(self) -> None:
        for workflow, concurrency in DECLARED.items():
            version = WorkflowVersion(workflow, "v1", "yaml", "", "", declaration={"concurrency": concurrency})
            self.do(self.store.publish(version))

    # Gateways, and whoever replays

    @rule(
        workflow=st.sampled_from(WORKFLOWS),
        deliveries=st.lists(st.lists(st.sampled_from("abcd"), max_size=2), min_size=1, max_size=3),
        made_by_prefect=st.booleans(),
    )
    def accept(self, workflow: str, deliveries: list[list[str]], made_by_prefect: bool) -> None:
        new = [self._new(workflow, keys, made_by_prefect) for keys in deliveries]
        expected = [self._expect(one) for one in new]

        assert self.do(self.store.accept(new)) == expected

    @precondition(lambda self: self.ended())
    @rule(pick=Pick)
    def replay(self, pick: int) -> None:
        first = one_of(self.ended(), pick)
        steps = [
            StepExecution(path, "log.message", status, output=output)
            for path, (status, output) in first.steps.items()
            if status is Status.SUCCEEDED
        ]
        new = self._new(first.workflow, [], False, replay_of=first.id, steps=steps)

        assert self.do(self.store.accept([new])) == [self._expect(new)]

    def _new(self, workflow: str, keys: list[str], made_by_prefect: bool, **more: Any) -> NewExecution:
        self.accepted += 1
        customer = CUSTOMERS[self.accepted % 3] if workflow in ("by-key", "latest") else ""
        return NewExecution(
            id=new_id(),
            workflow=workflow,
            version="v1",
            trigger=Trigger.WEBHOOK,
            event={"number": self.accepted},
            keys=[Key.made("concurrency", "event.customer", customer, customer)] if customer else (),
            accepted_at=T0 + timedelta(seconds=self.accepted),
            dedupe_keys=keys,
            flow_run_id=f"run-{self.accepted}" if made_by_prefect else None,
            **more,
        )

    def _expect(self, new: NewExecution) -> Accepted:
        for key in new.dedupe_keys:
            if key in self.model.deliveries:
                return Accepted(self.model.deliveries[key], duplicate=True)
        self.model.deliveries |= dict.fromkeys(new.dedupe_keys, new.id)
        steps = {step.path: (step.status, step.output) for step in new.steps}
        customer = new.keys[0].shown if new.keys else ""
        self.model.executions[new.id] = Expected(new.id, new.workflow, new.flow_run_id, steps, customer)
        return Accepted(new.id, duplicate=False)

    # Dispatchers

    @rule(limit=st.integers(min_value=1, max_value=4), claim=st.sampled_from([LONG, OVER]))
    def admit(self, limit: int, claim: float) -> None:
        model = self.model
        model.arrive("latest")
        available = {w: model.to_dispatch(w) + model.available(w) for w in WORKFLOWS}
        for one in model.waiting("cancels")[model.room("cancels") :]:
            one.end(Status.CANCELLED)

        admitted = self.do(self.store.admit(limit=limit, claim=claim))

        taken = Counter(execution.workflow for execution in admitted)
        assert len(admitted) == min(limit, sum(len(queue) for queue in available.values()))
        for workflow, queue in available.items():
            mine = [execution.id for execution in admitted if execution.workflow == workflow]
            assert mine == [one.id for one in queue[: taken[workflow]]], "the oldest first"
            others = max(taken[other] for other in WORKFLOWS)
            assert taken[workflow] >= min(len(queue), others - 1), "one of each, then a second of each"
        for execution in admitted:
            one = model.executions[execution.id]
            assert from_document(execution.event)["number"] >= 1
            one.is_admitted, one.is_claimed = True, one.flow_run is None and claim == LONG

    @precondition(lambda self: self.model.executions)
    @rule(pick=Pick)
    def dispatched(self, pick: int) -> None:
        one = self.any(pick)
        self.do(self.store.dispatched({one.id: f"run-of-{one.id}"}))
        one.flow_run, one.is_claimed = one.flow_run or f"run-of-{one.id}", False

    @precondition(lambda self: self.model.executions)
    @rule(pick=Pick)
    def release(self, pick: int) -> None:
        one = self.any(pick)
        self.do(self.store.release([one.id]))
        one.is_claimed = False

    @rule(workflow=st.sampled_from(WORKFLOWS), limit=st.integers(min_value=0, max_value=3))
    def set_limit(self, workflow: str, limit: int) -> None:
        self.do(self.store.set_limit(workflow, limit))
        self.model.limits[workflow] = limit

    # Workers

    @precondition(lambda self: self.model.executions)
    @rule(pick=Pick, owner=st.sampled_from(OWNERS), lease=st.sampled_from([LONG, OVER]), in_prefect=st.booleans())
    def begin(self, pick: int, owner: str, lease: float, in_prefect: bool) -> None:
        one = self.any(pick)
        flow_run = f"begun-{one.id}" if in_prefect else None
        before = self.model.slots()[one.workflow]
        expected = self._expect_begin(one, owner, flow_run)

        result = self.do(self.store.begin(one.id, flow_run_id=flow_run, owner=owner, lease=lease))

        if expected is not None:
            assert result is expected
            return
        assert isinstance(result, Execution)
        self._loses(one.hold)
        one.status, one.is_admitted, one.is_claimed = Status.RUNNING, True, False
        one.owner, one.runs, one.has_lease, one.flow_run = owner, one.runs + 1, lease == LONG, flow_run or one.flow_run
        self._check(one, result)
        assert self.model.slots()[one.workflow] <= max(before, self.model.limits[one.workflow])

    def _expect_begin(self, one: Expected, owner: str, flow_run: str | None) -> Refusal | None:
        if one.status.is_final:
            return Refusal.ENDED
        if one.status is Status.RUNNING and one.owner != owner and one.has_lease:
            return Refusal.HELD
        if one.is_admitted:
            return None
        one.flow_run = flow_run or one.flow_run
        if one.workflow == "latest":
            self.model.arrive("latest")
            if one.status.is_final:
                return Refusal.ENDED
        if self.model.may_start(one):
            return None
        if one.workflow == "cancels":
            one.end(Status.CANCELLED)
            return Refusal.ENDED
        return Refusal.FULL

    @precondition(lambda self: self.running())
    @rule(pick=Pick, path=st.sampled_from(PATHS), status=st.sampled_from([Status.RUNNING, *ENDS]), output=Pick)
    def save(self, pick: int, path: str, status: Status, output: int) -> None:
        one = one_of(self.running(), pick)
        if one.steps.get(path, (Status.RUNNING, None))[0] is not Status.RUNNING:
            return  # whoever runs it does not run a finished step again
        step = StepExecution(path, "log.message", status, output=output)

        assert self.do(self.store.save_steps(one.hold, [step])) is True
        one.steps[path] = (status, output)

    @precondition(lambda self: self.running())
    @rule(pick=Pick, status=st.sampled_from(ENDS))
    def finish(self, pick: int, status: Status) -> None:
        one = one_of(self.running(), pick)
        assert self.do(self.store.finish(one.hold, status, output=status.value)) is True
        self.model.stale.append(one.hold)
        one.end(status, status.value)

    @precondition(lambda self: self.running())
    @rule(pick=Pick, lease=st.sampled_from([LONG, OVER]))
    def renew(self, pick: int, lease: float) -> None:
        """A negative lease is how a process dies here."""
        one = one_of(self.running(), pick)
        assert self.do(self.store.renew([one.hold, *self.model.stale], lease=lease)) == {one.id: one.cancel}
        one.has_lease = lease == LONG

    @precondition(lambda self: self.running())
    @rule(pick=Pick)
    def requeue(self, pick: int) -> None:
        one = one_of(self.running(), pick)
        assert self.do(self.store.requeue(one.hold)) is True
        self._loses(one.hold)
        one.status, one.owner, one.has_lease = Status.ACCEPTED, None, False

    def _loses(self, hold: Hold) -> None:
        """Whoever had it has it no more, also when it is the same process that has it again."""
        assert self.do(self.store.save_steps(hold, [StepExecution("late", "log.message", Status.RUNNING)])) is False
        self.model.stale.append(hold)

    # Those who lost their execution, and do not know it yet

    @precondition(lambda self: self.model.stale)
    @rule(pick=Pick, path=st.sampled_from(PATHS), status=st.sampled_from([Status.RUNNING, *ENDS]))
    def write_late(self, pick: int, path: str, status: Status) -> None:
        hold = one_of(self.model.stale, pick)
        if hold == self.model.executions[hold.execution_id].hold:
            return  # nobody has begun it since: it is no late writer's, but whoever saw it like this may end it
        step = StepExecution(path, "log.message", status, output="late")

        assert self.do(self.store.save_steps(hold, [step])) is False
        assert self.do(self.store.requeue(hold)) is False
        if status.is_final:
            assert self.do(self.store.finish(hold, status, output="late", answer="late")) is False

    # Reconciliation, and people

    @rule()
    def look_for_the_dead(self) -> None:
        dead = {one.id for one in self.running() if not one.has_lease}
        assert {execution.id for execution in self.do(self.store.expired())} == dead

    @precondition(lambda self: self.unbegun())
    @rule(pick=Pick, undispatch=st.booleans(), status=st.sampled_from(ENDS))
    def give_up_what_nobody_runs(self, pick: int, undispatch: bool, status: Status) -> None:
        one = one_of(self.unbegun(), pick)
        if undispatch:
            self.do(self.store.undispatch(one.id))
            one.flow_run, one.is_claimed = None, False
        else:
            assert self.do(self.store.finish(one.hold, status)) is True
            one.end(status)

    @precondition(lambda self: self.model.executions)
    @rule(pick=Pick)
    def request_cancel(self, pick: int) -> None:
        one = self.any(pick)
        cancelled = self.do(self.store.request_cancel(one.id, by="api", reason=""))
        if not one.status.is_final:
            one.cancel = {"by": "api", "reason": ""}
        if one.status is Status.ACCEPTED and one.flow_run is None:
            one.end(Status.CANCELLED)
        assert cancelled is not None
        assert (cancelled.status, cancelled.cancel_requested) == (one.status, one.cancel)

    # What is always true

    @invariant()
    def every_execution_is_as_the_model_says(self) -> None:
        page = self.do(self.store.executions(limit=1_000))
        assert {execution.id for execution in page.items} == self.model.executions.keys()
        for execution in page.items:
            one = self.model.executions[execution.id]
            assert (execution.status, execution.hold) == (one.status, one.hold), execution
            assert (execution.admitted_at is not None, execution.flow_run_id) == (one.is_admitted, one.flow_run)

    def everything_is_as_the_model_says(self) -> None:
        for one in self.model.executions.values():
            execution = self.do(self.store.execution(one.id))
            assert execution is not None
            self._check(one, execution)
        accepted = Counter(one.workflow for one in self.unbegun())
        assert self.do(self.store.backlog()) == dict(accepted)
        assert self.do(self.store.counts()) == Counter(one.status for one in self.model.executions.values())

    def _check(self, one: Expected, execution: Execution) -> None:
        assert {step.path: (step.status, step.output) for step in execution.steps} == one.steps
        assert (execution.status, execution.output, execution.answer) == (one.status, one.output, None)

    def any(self, pick: int) -> Expected:
        return one_of(list(self.model.executions.values()), pick)

    def running(self) -> list[Expected]:
        return self.model.of(lambda one: one.status is Status.RUNNING)

    def unbegun(self) -> list[Expected]:
        return self.model.of(lambda one: one.status is Status.ACCEPTED)

    def ended(self) -> list[Expected]:
        return self.model.of(lambda one: one.status.is_final)


def one_of(those: Sequence[T], pick: int) -> T:
    return those[-1 - pick % len(those)]
