"""How what was seen becomes numbers."""

from __future__ import annotations

import pytest

from benchmarks.contestants import contestants
from benchmarks.contestants.contestant import Unavailable
from benchmarks.load import Outcome
from benchmarks.processes import since
from benchmarks.race import lag, latency
from benchmarks.receiver import Arrivals
from benchmarks.results import percentile


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.9, 4), (0.99, 4), (0.25, 1)])
def test_a_percentile_is_the_smallest_value_that_this_share_does_not_exceed(share: float, value: int) -> None:
    assert percentile([4, 1, 3, 2], share) == value


def test_latency_is_from_sending_to_the_effect() -> None:
    measured = latency({1: 10.0, 2: 20.0, 3: 30.0}, {1: 10.5, 3: 31.0})
    assert (measured.p50, measured.p90, measured.samples) == (0.5, 1.0, 2)


def test_without_any_effect_there_is_no_latency() -> None:
    with pytest.raises(Unavailable, match="no event had its effect"):
        latency({1: 10.0}, {})


def test_lag_over_time_is_by_when_events_were_due() -> None:
    outcome = Outcome(sent={1: 0.0, 2: 1.0, 3: 9.0, 4: 10.0}, arrived={1: 0.1, 2: 1.1, 3: 11.0, 4: 12.0})
    [(early, first, _), (late, last, _)] = lag(outcome, buckets=2)
    assert (early, late) == (2.5, 7.5)
    assert (round(first, 3), last) == (0.1, 2.0)


def test_a_part_that_has_begun_in_between_counts_from_nothing() -> None:
    assert since({"worker": 1.0}, {"worker": 3.0, "runs": 2.0}) == {"worker": 2.0, "runs": 2.0}


def test_only_the_first_arrival_of_an_event_counts() -> None:
    arrivals, told = Arrivals(), list[str]()
    arrivals.when("/one/1", lambda seen: len(seen) == 2, lambda: told.append("both"))
    arrivals.add("/one/1", 7, now=1.0)
    arrivals.add("/one/1", 7, now=2.0)
    assert (arrivals.of("/one/1"), told) == ({7: 1.0}, [])
    arrivals.add("/one/1", 8, now=3.0)
    assert told == ["both"]


def test_peers_are_chosen_by_name() -> None:
    assert [one.key for one in contestants("none")] == ["standard", "express"]
    assert {one.key for one in contestants("n8n")} >= {"standard", "express-postgres", "n8n"}
    with pytest.raises(ValueError, match="there is no peer zapier; there are dbos, prefect, n8n"):
        contestants("zapier")
