"""A home belongs to one platform at a time, and its files to their owner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import ConfigurationError
from foundation.private_files import write_private_file
from ipaas.platform.home import hold_home, prepare_home


def test_a_home_that_is_held_is_refused_with_the_holders_process(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(ConfigurationError, match=rf"process {holder.pid}\) uses the home"), hold_home(tmp_path):
            pass
    finally:
        holder.communicate(timeout=30)

    with hold_home(tmp_path):
        assert (tmp_path / "up.lock").read_text() == f"{os.getpid()}\n"


HOLD = """
import sys, pathlib
from ipaas.platform.home import hold_home
with hold_home(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_parts_of_a_killed_platform_are_waited_for(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVE_A_PART_BEHIND, str(tmp_path)]
    part = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    try:
        with (
            pytest.raises(ConfigurationError, match="a part of a platform that was killed"),
            hold_home(tmp_path, patience=0.2),
        ):
            pass
    finally:
        os.kill(part, 9)

    with hold_home(tmp_path, patience=10):
        assert (tmp_path / "up.lock").read_text() == f"{os.getpid()}\n"


LEAVE_A_PART_BEHIND = """
import subprocess, sys, pathlib
from ipaas.platform.home import hold_home
with hold_home(pathlib.Path(sys.argv[1])) as lock:
    print(subprocess.Popen(["sleep", "60"], pass_fds=[lock], stdout=subprocess.DEVNULL).pid)
"""


def test_a_home_that_can_not_be_written_says_what_to_choose(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="choose another with --home"):
        prepare_home(tmp_path / "file" / "home")


def test_a_home_is_made_for_its_owner(tmp_path: Path) -> None:
    prepare_home(tmp_path / "a" / "home")

    assert (tmp_path / "a" / "home").stat().st_mode & 0o777 == 0o700


def test_a_private_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("open to all")
    path.chmod(0o644)

    write_private_file(path, "closed\n")

    assert (path.read_text(), path.stat().st_mode & 0o777) == ("closed\n", 0o600)
    assert list(tmp_path.iterdir()) == [path]
