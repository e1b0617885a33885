"""What a type checker says of Python workflows: of ejected ones, and of what `flows` gives to authors."""

from __future__ import annotations

from pathlib import Path

from mypy import api
from scenario import ejected
from unit.scenarios.in_order import IN_ORDER
from unit.scenarios.loops import LOOPS
from unit.scenarios.values import VALUES
from unit.scenarios.waiting import WAITING

WORDS = """
from typing import Any, assert_type

from connectors import http
from flows import each, gather, step
from flows.engine.each import FailedRound


async def reserve(line: dict[str, int]) -> str:
    return "x"


def score(body: str, factor: int) -> float:
    return 1.0


async def right(lines: list[dict[str, int]]) -> None:
    async for line in each(lines, id="lines"):
        assert_type(line, dict[str, int])
    assert_type(await each(lines, reserve, concurrency=5), list[str])
    assert_type(await each(lines, reserve, tolerate="5%"), list[str | FailedRound])
    assert_type(await step(score, "a", 2), float)
    assert_type(await step(reserve, lines[0], id="one"), str)
    assert_type(await gather(reserve(lines[0]), step(score, "a", 1)), tuple[str, float])
    patient = http.request.with_id("a").with_retry().with_timeout("5s")
    assert_type(await patient(url="https://a.example/"), http.HttpResponse)


async def wrong(lines: list[str]) -> None:
    each(lines, concurrency=5)  # type: ignore[call-overload]  # no function
    await each(lines, reserve)  # type: ignore[arg-type]  # of another type
    await step(score, "a")  # type: ignore[arg-type]  # one too few
    await http.request.with_id("a")(uri="https://a.example/")  # type: ignore[call-overload]  # misspelt
"""


def test_ejected_code_and_what_authors_are_given_have_the_types_they_should(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(WORDS)
    for number, scenario in enumerate([*IN_ORDER, *LOOPS, *VALUES, *WAITING]):
        (tmp_path / f"workflow_{number}.py").write_text(ejected(scenario.yaml), encoding="utf-8")
    root = Path(__file__).parents[2]  # whose settings and cache are those of `make check`

    said, faults, code = api.run(
        [f"--config-file={root / 'pyproject.toml'}", f"--cache-dir={root / '.mypy_cache'}", str(tmp_path)]
    )

    assert (code, faults) == (0, ""), said
