"""What measured CPU times predict."""

from __future__ import annotations

import pytest

from benchmarks.cost_model import ALL_CORES, predict


def test_a_part_of_one_process_is_full_when_it_fills_its_core() -> None:
    predicted = predict({"gateway": 1.0, "worker": 4.0}, cores=8, most={"gateway": 1, "worker": 1})
    assert (predicted.rate, predicted.full) == (250, "worker")


def test_with_as_many_processes_as_it_takes_the_machine_is_full_first() -> None:
    predicted = predict({"gateway": 1.0, "worker": 4.0}, cores=64, most={})
    assert (predicted.rate, predicted.full) == (12_800, ALL_CORES)
    assert predicted.processes == {"gateway": 13, "worker": 52}


def test_on_few_cores_the_machine_is_full_before_any_process_is() -> None:
    predicted = predict({"gateway": 2.0, "worker": 2.0, "server": 2.0}, cores=2, most={"worker": 1})
    assert (round(predicted.rate), predicted.full) == (333, ALL_CORES)


def test_more_processes_of_the_part_that_is_full_give_more() -> None:
    costs = {"gateway": 1.0, "worker": 4.0}
    assert predict(costs, cores=8, most={"worker": 2}).rate == 2 * predict(costs, cores=8, most={"worker": 1}).rate


def test_a_part_without_cost_needs_one_process_and_bounds_nothing() -> None:
    predicted = predict({"supervisor": 0.0, "worker": 5.0}, cores=8, most={"supervisor": 1, "worker": 1})
    assert predicted.full == "worker"


def test_without_any_cost_nothing_is_predicted() -> None:
    with pytest.raises(ValueError, match="no part has a cost"):
        predict({"worker": 0.0}, cores=8, most={})
