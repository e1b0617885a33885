"""Who runs an execution, told apart from whoever has its process id later."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from foundation.owner import THIS_HOST, is_alive, process, this_process


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.communicate()


def test_a_process_is_the_same_each_time_it_is_asked(child: subprocess.Popen[bytes]) -> None:
    assert this_process() == process(os.getpid())
    assert process(child.pid) == process(child.pid) != this_process()


def test_a_process_is_alive_until_it_ends(child: subprocess.Popen[bytes]) -> None:
    owner = process(child.pid)
    before = is_alive(owner)
    child.kill()
    child.wait()

    assert (before, is_alive(owner)) == (True, False)


def test_a_process_that_ended_and_was_not_waited_for_is_dead(child: subprocess.Popen[bytes]) -> None:
    owner = process(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not is_alive(owner)


def test_another_process_with_the_same_id_is_not_it(child: subprocess.Popen[bytes]) -> None:
    assert not is_alive(f"{THIS_HOST}/{child.pid}.1")


@pytest.mark.parametrize(
    "owner",
    [
        None,
        "",
        "some-other-host/1",
        f"{THIS_HOST.rpartition('.')[0]}.11111111-2222-3333-4444-555555555555/999999999.1",  # before the last boot
        f"{THIS_HOST}/999999999",  # as an earlier version wrote it
        f"{THIS_HOST.rpartition('.')[0]}/999999999",
        f"{THIS_HOST}/999999999.soon",
    ],
)
def test_what_is_not_of_this_host_is_believed(owner: str | None) -> None:
    assert is_alive(owner)
