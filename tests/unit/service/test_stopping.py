"""Told to stop, once and twice; and parts that do not outlive who started them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ipaas.platform.stopping import StopSignals


async def told(*signals: signal.Signals) -> tuple[bool, bool]:
    """What is set after these: asked, again."""
    stop = StopSignals()
    for one in signals:
        os.kill(os.getpid(), one)
        await asyncio.sleep(0.01)  # its handler is called by the loop
    return stop.asked.is_set(), stop.again.is_set()


@pytest.mark.parametrize(
    ("signals", "asked", "again"),
    [
        ([], False, False),
        ([signal.SIGINT], True, False),
        ([signal.SIGTERM], True, False),
        ([signal.SIGTERM, signal.SIGTERM], True, False),
        ([signal.SIGINT, signal.SIGINT], True, True),
        ([signal.SIGTERM, signal.SIGINT], True, True),
    ],
)
async def test_only_a_second_ctrl_c_says_at_once(signals: list[signal.Signals], asked: bool, again: bool) -> None:
    assert await told(*signals) == (asked, again)


def test_a_process_that_hangs_is_ended() -> None:
    code = "import time; from ipaas.platform.stopping import end_within\nend_within(0.1, what='test'); time.sleep(60)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, "the test ends now" in done.stderr) == (1, True)


def test_one_that_has_ended_in_time_is_not() -> None:
    code = "import time; from ipaas.platform.stopping import end_within\nend_within(0.1, what='test').cancel()\n"

    assert subprocess.run([sys.executable, "-c", code + "time.sleep(0.3)"], timeout=30, check=False).returncode == 0


STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


@pytest.mark.parametrize(("manners", "code"), [("", -signal.SIGTERM), (STUBBORN, 1)])
def test_a_part_ends_when_its_supervisor_is_gone(tmp_path: Path, manners: str, code: int) -> None:
    (tmp_path / "a_part.py").write_text(
        f"{manners}import sys, time, pathlib\n"
        "pathlib.Path(sys.argv[1]).touch()\nprint(sys.argv, __name__, flush=True)\ntime.sleep(60)\n"
    )
    launch = "import ipaas.platform.launch as launch\nlaunch.ORPHAN_SECONDS = 0.1\nlaunch.main()"
    argv = [sys.executable, "-c", launch, "a_part", str(tmp_path / "file")]
    environment = os.environ | {"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{tmp_path}"}

    part = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert part.stdout
    line = part.stdout.readline()
    assert part.poll() is None, "it runs as long as the pipe is open"
    part.communicate(timeout=30)  # closes the pipe

    assert part.returncode == code
    assert line == f"{[str(tmp_path / 'a_part.py'), str(tmp_path / 'file')]} __main__\n"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
