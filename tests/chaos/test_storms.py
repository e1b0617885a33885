"""A storm of webhooks while a part is killed twice: nothing acknowledged is lost, nothing finished is done again.

The first kill comes when half of the events are acknowledged, the second when half of their effects have happened.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from platform_process import Platform, Sink, eventually
from private_postgres import PrivatePostgres
from storms import WORKFLOW, Outcome, first_steps_run_after_second, p99, send_storm, wait_until_all_ended

EVENTS = 1000
EVENTS_WITH_KILL = 300
IN_FLIGHT = 2 * 10
"""So many steps at most were in flight when their worker died: two kills, and the workflow's concurrency."""

Kill = Callable[[Platform], None]


@pytest.fixture(params=["standard", "express"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_platform(sink: Sink, tmp_path: Path, mode: str) -> Iterator[Callable[..., Platform]]:
    made: list[Platform] = []

    def make(**environment: str) -> Platform:
        (tmp_path / "workflows").mkdir()
        (tmp_path / "workflows" / "storm.yaml").write_text(WORKFLOW.replace("http://sink", sink.url))
        made.append(Platform(tmp_path / "home", tmp_path / "workflows", environment | {"IPAAS_MODE": mode}))
        return made[-1].start()

    yield make
    for platform in made:
        platform.stop()


def everything(platform: Platform) -> None:
    platform.kill_everything()
    platform.start()


KILLS: dict[str, Kill] = {
    "the gateway": lambda platform: platform.kill("gateway"),
    "the worker": lambda platform: platform.kill("worker"),
    "Prefect's server": lambda platform: platform.kill("prefect"),
    "everything": everything,
}


def test_a_storm_without_kills(make_platform: Callable[..., Platform], sink: Sink, outcomes: list[Outcome]) -> None:
    outcome = weather(make_platform(), sink, "nothing", EVENTS)
    outcomes.append(outcome)

    assert (outcome.acknowledged, outcome.tries) == (EVENTS, EVENTS)
    assert (outcome.lost, outcome.repeated) == (0, 0)


@pytest.mark.parametrize("killed", KILLS)
def test_a_storm_in_which_a_part_is_killed(
    make_platform: Callable[..., Platform], sink: Sink, outcomes: list[Outcome], killed: str
) -> None:
    outcome = weather(make_platform(), sink, killed, EVENTS_WITH_KILL, KILLS[killed])
    outcomes.append(outcome)

    assert (outcome.acknowledged, outcome.lost) == (EVENTS_WITH_KILL, 0)
    assert outcome.repeated <= (IN_FLIGHT if killed in ("the worker", "everything") else 0)
    assert first_steps_run_after_second(sink) == []


def test_a_storm_in_which_postgresql_is_killed(
    make_platform: Callable[..., Platform], sink: Sink, outcomes: list[Outcome]
) -> None:
    postgres = PrivatePostgres()
    try:
        platform = make_platform(
            IPAAS_DATABASE_URL=postgres.url("ipaas"),
            PREFECT_API_DATABASE_CONNECTION_URL=postgres.url("prefect").replace("postgresql", "postgresql+asyncpg", 1),
        )
        outcome = weather(platform, sink, "PostgreSQL", EVENTS_WITH_KILL, lambda _: postgres.kill())
        outcomes.append(outcome)
        platform.stop()
    finally:
        postgres.close()

    assert (outcome.acknowledged, outcome.lost) == (EVENTS_WITH_KILL, 0)
    assert outcome.repeated <= IN_FLIGHT
    assert first_steps_run_after_second(sink) == []


def weather(platform: Platform, sink: Sink, killed: str, events: int, kill: Kill | None = None) -> Outcome:
    """One storm, and what became of it once all its executions have ended."""
    began = time.monotonic()
    sent = send_storm(f"{platform.url}/hooks/storm", events, (lambda: kill(platform)) if kill else None)
    if kill:
        eventually(lambda: len(sink.received) >= events, 60 + events, "half of the effects have happened")
        kill(platform)
    wait_until_all_ended(platform, 60 + 2 * events)
    effects = Counter((request.path, request.body["n"]) for request in list(sink.received))
    succeeded = {
        n for n, execution_id in sent.acknowledged.items() if platform.ended(execution_id)["status"] == "succeeded"
    }
    lost = [n for n in sent.acknowledged if n not in succeeded or not effects["/first", n] or not effects["/second", n]]
    return Outcome(
        mode=platform.environment["IPAAS_MODE"],
        killed=killed,
        events=events,
        tries=sent.tries,
        acknowledged=len(sent.acknowledged),
        lost=len(lost),
        repeated=sum(count - 1 for count in effects.values()),
        p99_accept=p99(sent.accept_seconds),
        run_seconds=time.monotonic() - began,
    )
