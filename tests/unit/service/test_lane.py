"""Whose turn it is in one worker: workflows take turns, and nobody waits behind another's long queue."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun

from ipaas.worker.lane import Lane, Lanes

A, B, C = (uuid4() for _ in range(3))


def runs(count: int) -> list[FlowRun]:
    return [FlowRun(id=uuid4(), flow_id=uuid4()) for _ in range(count)]


@pytest.fixture
def lane() -> Lane:
    """With room for four, and eight runs that wait."""
    lane = Lane(limit=4)
    for run in runs(8):
        lane.add(run)
    return lane


def start_all(lane: Lane) -> list[UUID]:
    started = []
    while lane.can_start:
        started.append(lane.start_next().id)
    return started


def test_a_single_worker_starts_the_oldest_up_to_the_limit(lane: Lane) -> None:
    oldest = list(lane.waiting)[:4]
    assert start_all(lane) == oldest


def test_a_run_that_ends_here_makes_room_here(lane: Lane) -> None:
    first, *_ = start_all(lane)

    lane.running.discard(first)
    assert len(start_all(lane)) == 1


def test_with_a_limit_of_none_nothing_starts_and_without_one_all_do(lane: Lane) -> None:
    lane.limit = 0
    assert start_all(lane) == []

    lane.limit = None
    assert len(start_all(lane)) == 8


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


def lanes_with(limit: int | None = None, **queues: int) -> Lanes:
    lanes = Lanes(limit)
    for name, count in queues.items():
        for run in runs(count):
            lanes[{"a": A, "b": B, "c": C}[name]].add(run)
    return lanes


def turns(lanes: Lanes) -> Iterator[str]:
    """The lanes that start a run, until nothing may start; each run ends before the next one begins."""
    names = {id(lanes[A]): "a", id(lanes[B]): "b", id(lanes[C]): "c"}
    while turn := lanes.start_next():
        run, lane = turn
        lane.running.discard(run.id)
        yield names[id(lane)]


def test_lanes_take_turns() -> None:
    assert sorted("".join(turns(lanes_with(a=3, b=3, c=3)))[:3]) == ["a", "b", "c"]
    assert "aa" not in "".join(turns(lanes_with(a=3, b=3)))


def test_one_run_does_not_wait_behind_another_workflows_thousands() -> None:
    lanes = lanes_with(limit=2, a=2_000)
    [first, second] = [lanes.start_next() for _ in range(2)]
    [run_of_b] = runs(1)
    lanes[B].add(run_of_b)
    assert lanes.start_next() is None, "the worker is full"

    assert first is not None
    first[1].running.discard(first[0].id)
    turn = lanes.start_next()

    assert turn is not None
    assert turn[0] is run_of_b
    assert second is not None


def test_a_worker_starts_no_more_than_it_may_have() -> None:
    lanes = lanes_with(limit=2, a=5, b=5)

    started = [lanes.start_next() for _ in range(3)]

    assert [turn is not None for turn in started] == [True, True, False]
    assert lanes.room == 0


def test_a_lane_at_its_limit_lets_the_others_pass() -> None:
    lanes = lanes_with(a=5, b=2)
    lanes[A].limit, lanes[B].limit = 0, 1

    started = [lanes.start_next(), lanes.start_next()]

    assert [turn and turn[1] is lanes[B] for turn in started] == [True, None]


def test_what_prefect_made_beyond_the_limit_is_taken_out_until_it_is_admitted() -> None:
    lane = Lane(limit=0)
    [ours, theirs] = [
        FlowRun(id=uuid4(), flow_id=uuid4(), labels=labels) for labels in ({"ipaas.execution": "e-1"}, {})
    ]
    lane.add(ours)
    lane.add(theirs)

    taken_out = lane.uncounted()
    lane.add(theirs)
    while_it_is_counted = set(lane.waiting)
    lane.counted(theirs, admitted=True)

    assert (taken_out, while_it_is_counted, lane.uncounted()) == ([theirs], {ours.id}, [])
    assert set(lane.waiting) == {ours.id, theirs.id}


def test_what_can_start_is_not_taken_out() -> None:
    lane = Lane(limit=1)
    lane.add(runs(1)[0])

    assert lane.uncounted() == []


def test_a_worker_knows_what_it_has() -> None:
    lanes = Lanes()
    here, elsewhere = (FlowRun(flow_id=uuid4(), deployment_id=A) for _ in range(2))
    lanes[A].add(here)
    assert lanes.has(here)
    assert lanes.start_next() is not None

    assert lanes.has(here)
    assert not lanes.has(elsewhere)
    assert lanes.waiting == set()
