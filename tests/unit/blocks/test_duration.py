"""Durations as people write them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from foundation.duration import Seconds

seconds = TypeAdapter(Seconds).validate_python


@pytest.mark.parametrize(
    ("written", "meant"),
    [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("1d", 86_400), (5, 5), (0.25, 0.25), ("7", 7)],
)
def test_a_duration_is_a_number_of_seconds_or_has_a_unit(written, meant) -> None:
    assert seconds(written) == meant


@pytest.mark.parametrize("written", ["", "s", "5 weeks", "-5s", 0, -1, "0s", float("inf"), float("nan"), "1h30m", None])
def test_anything_else_is_refused(written) -> None:
    with pytest.raises(ValidationError):
        seconds(written)
