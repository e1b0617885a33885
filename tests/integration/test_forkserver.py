"""The forkserver of `ipaas up`: the processes it makes are as independent as if they had been started by themselves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from platform_process import eventually

from ipaas.platform.processes import CAN_FORK, Forked, ForkedProcess, Process

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not CAN_FORK, reason="processes are started by themselves on this system"),
]

TELLS = """
import json, os, random, secrets, sys, threading, uuid, uuid_utils
from prefect.settings import PREFECT_API_URL, PREFECT_HOME
out, descriptor = sys.argv[1:]
told = {
    "argv": sys.argv, "name": __name__, "environment": dict(os.environ), "session": os.getsid(0), "pid": os.getpid(),
    "threads": [thread.name for thread in threading.enumerate()],
    "prefect": [PREFECT_API_URL.value(), str(PREFECT_HOME.value())],
    "server": sorted(name for name in sys.modules if name.startswith("prefect.server")),
    "random": [random.random(), secrets.token_hex(), str(uuid.uuid4()), str(uuid_utils.uuid7())],
    "read": os.read(int(descriptor), 5).decode(),
}
with open(out + ".new", "w") as file:
    json.dump(told, file)
os.rename(out + ".new", out)
"""
PARTS = {
    "tells": TELLS,
    "stays": "import time; time.sleep(60)",
    "ends": "import sys; sys.exit(int(sys.argv[1]))",
    "breaks": "raise RuntimeError('broken')",
}


class Supervisor:
    """What `ipaas up` is to its parts."""

    def __init__(self, folder: Path) -> None:
        self.environment = os.environ | {"PYTHONPATH": str(folder), "PREFECT_HOME": str(folder / "prefect")}
        self.forked = Forked(self.environment)
        self.lifeline, self._held_open = os.pipe()

    async def start(self, *argv: str, inherited: tuple[int, ...] = (), **environment: str) -> Process:
        return await self.forked.start(argv, self.environment | environment, self.lifeline, inherited)

    async def close(self) -> None:
        await self.forked.close()
        os.close(self._held_open)
        os.close(self.lifeline)


@asynccontextmanager
async def supervising(folder: Path) -> AsyncIterator[Supervisor]:
    for name, text in PARTS.items():
        (folder / f"{name}.py").write_text(text)
    supervisor = Supervisor(folder)
    try:
        yield supervisor
    finally:
        await supervisor.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def supervisor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisor]:
    async with supervising(tmp_path_factory.mktemp("parts")) as supervisor:
        yield supervisor


async def told(supervisor: Supervisor, out: Path, **environment: str) -> dict[str, Any]:
    """What a part says of itself."""
    reading, writing = os.pipe()
    process = await supervisor.start("tells", str(out), str(reading), inherited=(reading,), **environment)
    os.write(writing, b"hello")
    assert await process.wait() == 0
    os.close(reading)
    os.close(writing)
    said: dict[str, Any] = json.loads(out.read_text())
    assert said["pid"] == process.pid
    return said


async def happens(ask: Callable[[], Any]) -> None:
    await asyncio.to_thread(eventually, ask)


async def test_a_part_has_an_environment_a_session_and_arguments_of_its_own(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    home = str(tmp_path / "home")
    said = await told(supervisor, tmp_path / "a", PREFECT_API_URL="http://a.example/api", PREFECT_HOME=home)

    assert said["argv"][1] == str(tmp_path / "a")
    assert said["name"] == "__main__"
    assert said["session"] == said["pid"]
    assert said["read"] == "hello"
    assert said["environment"] == supervisor.environment | {
        "PREFECT_API_URL": "http://a.example/api",
        "PREFECT_HOME": home,
    }


async def test_prefects_settings_are_those_of_the_parts_environment(supervisor: Supervisor, tmp_path: Path) -> None:
    """Relies on `prefect.context.refresh_global_settings_context`, and on nothing else keeping what it read."""
    said = [
        await told(supervisor, tmp_path / name, PREFECT_API_URL=f"http://{name}.example/api", PREFECT_HOME=f"/{name}")
        for name in ("a", "b")
    ]
    assert [one["prefect"] for one in said] == [["http://a.example/api", "/a"], ["http://b.example/api", "/b"]]


async def test_prefects_server_is_left_to_its_part(supervisor: Supervisor, tmp_path: Path) -> None:
    """Its modules read settings while they are imported."""
    assert (await told(supervisor, tmp_path / "a"))["server"] == []


async def test_two_parts_draw_different_random_numbers(supervisor: Supervisor, tmp_path: Path) -> None:
    first, second = [(await told(supervisor, tmp_path / name))["random"] for name in ("a", "b")]
    assert not set(first) & set(second)


async def test_a_part_has_no_thread_but_its_own_and_its_watch(supervisor: Supervisor, tmp_path: Path) -> None:
    assert len((await told(supervisor, tmp_path / "a"))["threads"]) == 2
    assert [child.num_threads() for child in psutil.Process().children() if "forkserver" in child.name()] in ([], [1])


async def test_it_looks_like_a_process_that_was_started(supervisor: Supervisor) -> None:
    process = await supervisor.start("stays", "for", "a while")

    def command_line() -> bool:
        seen = psutil.Process(process.pid).cmdline()
        return seen == [sys.executable, "-m", "ipaas.platform.launch", "stays", "for", "a", "while"]

    await happens(command_line)
    process.kill()
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("argv", "code"), [(("ends", "0"), 0), (("ends", "3"), 3), (("breaks",), 1)])
async def test_how_it_ended_is_known(supervisor: Supervisor, argv: tuple[str, ...], code: int) -> None:
    process = await supervisor.start(*argv)
    assert (await process.wait(), process.returncode) == (code, code)


async def test_it_is_asked_to_stop_like_any_other(supervisor: Supervisor) -> None:
    process = await supervisor.start("stays", "for", "a while")
    assert process.returncode is None
    process.terminate()
    assert await process.wait() == -signal.SIGTERM
    process.terminate()  # no other process gets it
    process.kill()


async def test_parts_go_on_when_the_forkserver_dies_and_the_next_has_another(tmp_path: Path) -> None:
    async with supervising(tmp_path) as supervisor:
        orphan = await supervisor.start("stays", "for", "a while")
        parent = psutil.Process(orphan.pid).parent()
        assert parent

        parent.kill()
        await happens(lambda: not parent.is_running() or parent.status() == psutil.STATUS_ZOMBIE)
        next_one = await supervisor.start("stays", "for", "a while")

        assert orphan.returncode is None
        orphan.kill()
        await orphan.wait()
        assert isinstance(next_one, ForkedProcess) or await supervisor.start("ends", "0")
        next_one.kill()
        await next_one.wait()


async def test_the_forkserver_ends_with_its_supervisor(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, sys\nfrom ipaas.platform.processes import Forked\n"
        "async def main():\n"
        "    process = await Forked(os.environ).start(['stays'], os.environ, os.pipe()[0], ())\n"
        "    print(process.pid, flush=True)\n    await process.wait()\n"
        "asyncio.run(main())"
    )
    (tmp_path / "stays.py").write_text(PARTS["stays"])
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert supervisor.stdout
    part = psutil.Process(int(await supervisor.stdout.readline()))
    forkserver = part.parent()
    assert forkserver

    supervisor.kill()
    await supervisor.wait()

    await happens(lambda: not forkserver.is_running())
    await happens(lambda: not part.is_running())  # at the end of its standard input
