"""What was acknowledged ends, once, whatever is killed: for real, with SIGKILL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from platform_process import Platform, Sink, eventually

Make = Callable[[Sink], Platform]


@pytest.mark.parametrize("hook", ["three-steps", "in-python"])
def test_a_killed_workers_execution_goes_on_after_its_last_finished_step(
    platform: Platform, sink: Sink, hook: str
) -> None:
    goes_on_after_its_worker_is_killed(platform, sink, hook)

    eventually(lambda: slots_taken(platform, hook) == 0, why="its slot is free again")


def goes_on_after_its_worker_is_killed(platform: Platform, sink: Sink, hook: str) -> str:
    """In whichever mode; the execution's id."""
    execution_id = platform.send(hook, {"n": 1})
    eventually(lambda: sink.bodies("/slow"), why="the slow step runs")

    platform.kill("worker")
    eventually(lambda: len(sink.bodies("/slow")) == 2, 90, "the step in flight is run again")
    sink.release.set()

    execution = platform.ended(execution_id, 90)
    assert execution["status"] == "succeeded"
    assert [len(sink.bodies(path)) for path in ("/before", "/slow", "/after")] == [1, 2, 1]
    first, again = (request for request in sink.received if request.path == "/slow")
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    run = eventually(lambda: in_state(platform, execution["flow_run_id"], "COMPLETED"), why="Prefect has the end")
    assert run["run_count"] == 2
    return execution_id


def test_prefects_server_is_killed_while_a_step_runs(platform: Platform, sink: Sink) -> None:
    execution_id = platform.send("three-steps", {"n": 1})
    eventually(lambda: sink.bodies("/slow"), why="the slow step runs")

    platform.kill("prefect")
    sink.release.set()

    execution = platform.ended(execution_id, 90)
    assert execution["status"] == "succeeded"
    assert [len(sink.bodies(path)) for path in ("/before", "/slow", "/after")] == [1, 1, 1]
    eventually(lambda: in_state(platform, execution["flow_run_id"], "COMPLETED"), 120, "Prefect has the end")


def test_events_are_accepted_while_prefects_server_is_down_and_run_when_it_is_back(
    platform: Platform, sink: Sink
) -> None:
    platform.parts("prefect")[0].kill()
    accepted = [platform.send("to-sink", {"n": n}) for n in range(20)]

    assert {platform.ended(execution_id, 120)["status"] for execution_id in accepted} == {"succeeded"}
    assert sorted(body["n"] for body in sink.bodies("/plain")) == list(range(20))


def test_a_killed_gateway_loses_nothing_it_acknowledged(platform: Platform, sink: Sink) -> None:
    answers = storm(platform, 60, lambda: platform.parts("gateway")[0].kill())

    acknowledged = {n: answer for n, answer in answers.items() if answer is not None}
    assert all(answer.status_code == 202 for answer in acknowledged.values())
    assert len(acknowledged) < 60, "the kill came in between"
    for answer in acknowledged.values():
        assert platform.ended(answer.json()["execution_id"], 120)["status"] == "succeeded"
    effects = Counter(body["n"] for body in sink.bodies("/plain"))
    assert {n: effects[n] for n in acknowledged} == dict.fromkeys(acknowledged, 1)


def test_everything_is_killed_and_started_again(own_platform: Make, sink: Sink) -> None:
    goes_on_after_everything_was_killed(own_platform(sink).start(), sink)


def goes_on_after_everything_was_killed(platform: Platform, sink: Sink) -> list[str]:
    """In whichever mode; the executions' ids."""
    slow = [platform.send("three-steps", {"n": n}) for n in range(3)]
    eventually(lambda: len(sink.bodies("/slow")) == 3, why="the slow steps run")
    waiting = [platform.send("to-sink", {"n": n}) for n in range(30)]

    platform.kill_everything()
    sink.release.set()
    platform.start()

    assert {platform.ended(one, 120)["status"] for one in slow + waiting} == {"succeeded"}
    assert Counter(body["n"] for body in sink.bodies("/before")) == dict.fromkeys(range(3), 1)
    assert Counter(body["n"] for body in sink.bodies("/after")) == dict.fromkeys(range(3), 1)
    assert set(Counter(body["n"] for body in sink.bodies("/plain"))) == set(range(30))
    eventually(lambda: no_run_is_under_way(platform), 120, "Prefect agrees that all have ended")
    return slow + waiting


def test_stopping_hands_back_nothing_that_can_end_in_time(own_platform: Make, sink: Sink) -> None:
    platform = own_platform(sink).start()
    execution_id = platform.send("three-steps", {"n": 1})
    eventually(lambda: sink.bodies("/slow"), why="the slow step runs")
    assert platform.process
    platform.process.terminate()
    sink.release.set()
    platform.process.wait(60)

    platform.start()

    assert platform.execution(execution_id)["status"] == "succeeded"
    assert [len(sink.bodies(path)) for path in ("/before", "/slow", "/after")] == [1, 1, 1]


def storm(platform: Platform, count: int, interrupt: Callable[[], None]) -> dict[int, httpx.Response | None]:
    """Sends `count` events at once, and interrupts half-way; None for those that got no answer."""
    done: list[int] = []

    def send(n: int) -> tuple[int, httpx.Response | None]:
        if n == count // 2:
            interrupt()
        try:
            answer: httpx.Response | None = platform.post("/hooks/to-sink", json={"n": n})
        except httpx.TransportError:
            answer = None
        done.append(n)
        return n, answer

    with ThreadPoolExecutor(8) as senders:
        return dict(senders.map(send, range(count)))


def in_state(platform: Platform, flow_run_id: str, state: str) -> dict[str, Any] | None:
    try:
        run = platform.flow_run(flow_run_id)
    except httpx.HTTPError:
        return None
    return run if run["state_type"] == state else None


def slots_taken(platform: Platform, workflow: str) -> int:
    limit = platform.deployment(workflow)["global_concurrency_limit"]
    taken: int = platform.prefect("GET", f"/v2/concurrency_limits/{limit['id']}")["active_slots"]
    return taken


def no_run_is_under_way(platform: Platform) -> bool:
    query = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}}
    return not platform.prefect("POST", "/flow_runs/filter", json=query)
