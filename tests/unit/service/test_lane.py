"""A worker's share of a deployment's limit: it does not ask for slots that other workers hold."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun

from ipaas.worker.lane import ASK_AGAIN_SECONDS, Lane


class Elapsed:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def elapsed() -> Elapsed:
    return Elapsed()


@pytest.fixture
def lane(elapsed: Elapsed) -> Lane:
    """With room for four, and eight runs that wait."""
    lane = Lane(elapsed)
    lane.limit = 4
    for _ in range(8):
        lane.add(FlowRun(id=uuid4(), flow_id=uuid4()))
    return lane


def start_all(lane: Lane) -> list[UUID]:
    started = []
    while lane.has_room:
        started.append(lane.start_next().id)
    return started


def refuse(lane: Lane, flow_run_id: UUID) -> None:
    lane.refused()
    lane.running.discard(flow_run_id)


def test_a_single_worker_starts_the_oldest_up_to_the_limit(lane: Lane) -> None:
    oldest = list(lane.waiting)[:4]
    assert start_all(lane) == oldest


def test_a_refused_slot_is_not_asked_for_again_at_once(lane: Lane, elapsed: Elapsed) -> None:
    *_, third, fourth = start_all(lane)
    refuse(lane, fourth)
    refuse(lane, third)
    assert start_all(lane) == []

    elapsed.seconds += ASK_AGAIN_SECONDS
    assert len(start_all(lane)) == 1, "one more is asked for, not all"


def test_a_run_that_ends_here_makes_room_here(lane: Lane) -> None:
    first, *_, fourth = start_all(lane)
    refuse(lane, fourth)

    lane.running.discard(first)
    assert len(start_all(lane)) == 1


def test_slots_that_became_free_elsewhere_are_taken_one_after_the_other(lane: Lane, elapsed: Elapsed) -> None:
    for flow_run_id in start_all(lane)[1:]:
        refuse(lane, flow_run_id)
    elapsed.seconds += ASK_AGAIN_SECONDS

    for running in (2, 3, 4):
        assert len(start_all(lane)) == 1
        lane.granted()
        assert len(lane.running) == running
    assert start_all(lane) == []


def test_what_began_elsewhere_is_not_started_here(lane: Lane) -> None:
    first, second, *_ = list(lane.waiting)
    lane.begun_elsewhere(first)
    lane.begun_elsewhere(second)
    assert not {first, second} & set(start_all(lane))


def test_beside_rivals_any_of_the_oldest_is_started_but_none_younger(lane: Lane) -> None:
    oldest = set(list(lane.waiting)[1:5])
    lane.begun_elsewhere(next(iter(lane.waiting)))
    assert lane.start_next().id in oldest


def test_what_runs_here_does_not_wait_again(lane: Lane) -> None:
    run = lane.start_next()
    lane.add(run)
    assert run.id not in lane.waiting
