"""Whether a value in a workflow fits what takes it: what is written there, and what its expressions give."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flows.expressions import is_template
from flows.expressions.shapes import ANYTHING, Shape, literal, misfit
from flows.language.definition import Json
from flows.language.place import Place
from foundation.nearest import listed, nearest


def check_fit(place: Place, value: Json, wanted: Shape) -> None:
    """Tells `place` what can't be, each part at its own place; what only the run can tell is no fault."""
    if isinstance(value, str) and is_template(value):
        _tell(place, misfit(place.shape(value), wanted))
    elif isinstance(value, Mapping) and "mapping" in wanted.kinds:
        _check_mapping(place, value, wanted)
    elif isinstance(value, (list, tuple)) and "list" in wanted.kinds:
        for index, item in enumerate(value):
            check_fit(place.at(index), item, wanted.items or ANYTHING)
    else:
        place.shape(value)
        _tell(place, misfit(literal(value), wanted))


def hint(name: str, known: Collection[str]) -> str:
    """`did you mean 'KNOWN'?`, or all that are known."""
    near = nearest(name, known)
    if near:
        return f"did you mean {near!r}?"
    return f"known: {listed(sorted(known))}" if known else "there is none"


def _check_mapping(place: Place, value: Mapping[str, Json], wanted: Shape) -> None:
    for key, item in value.items():
        if key not in wanted.keys and wanted.closed:
            place.at(key).fault(f"unknown key {key!r}; {hint(key, wanted.keys)}")
        else:
            check_fit(place.at(key), item, wanted.key(key))
    for key in sorted(wanted.required - value.keys()):
        place.fault(f"missing key {key!r}")


def _tell(place: Place, fault: str | None) -> None:
    if fault is not None:
        place.fault(fault)
