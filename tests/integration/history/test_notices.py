"""Notices between processes that share a history; within one, they are `StoreSuite`'s."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from store_suite.notices import LAST, heard_by

from flows.history import Topic
from flows.history.socket_notices import SocketNotices, folder_of
from flows.history.sql import SqlStore

_ROOT = Path(__file__).parents[3]

ECHOES = """
import asyncio, sys
from flows.history import Topic
from flows.history.sql import SqlStore

async def main():
    store, heard = SqlStore(sys.argv[1]), asyncio.Queue()
    await store.open()
    async with store.listening(Topic.ENDED, heard.put_nowait):
        print("listens", flush=True)
        while (text := await heard.get()) != "stop":
            store.announce(Topic.ACCEPTED, text)
    store.announce(Topic.ACCEPTED, "stopped")
    await store.close()

asyncio.run(main())
"""
"""Listens, and announces again what it hears."""


@pytest.fixture(autouse=True)
def a_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The paths of tests are long, so the sockets are in the temporary folder: in one that is gone with the test."""
    tmp_path_factory.getbasetemp()  # of the whole session: not in this one
    with tempfile.TemporaryDirectory(prefix="n-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield


@asynccontextmanager
async def another_process(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ECHOES, url, cwd=_ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"listens\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_another_process_hears_and_is_heard(history_url: str) -> None:
    store = SqlStore(history_url)
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with (
        asyncio.timeout(90),
        store.listening(Topic.ACCEPTED, heard.put_nowait),
        another_process(history_url) as process,
    ):
        for text in ("e1", "e2", "stop"):
            store.announce(Topic.ENDED, text)
            assert await heard.get() == text.replace("stop", "stopped")
        assert await process.wait() == 0
    await store.close()


async def test_one_hears_all_that_another_announces_or_is_told_to_look_at_everything(
    stores: tuple[SqlStore, SqlStore],
) -> None:
    ids = [f"execution-{n:036}" for n in range(2_000)]
    async with heard_by(stores[0], Topic.ENDED) as heard:
        for execution_id in ids:
            stores[1].announce(Topic.ENDED, execution_id)
        async with asyncio.timeout(10):
            while "" not in heard.texts and len(heard.texts) < len(ids):
                await asyncio.sleep(0.005)

    assert heard.texts == ids or "" in heard.texts


async def test_who_announces_and_stops_is_heard(stores: tuple[SqlStore, SqlStore]) -> None:
    async with heard_by(stores[0], Topic.ENDED) as heard:
        stores[1].announce(Topic.ENDED, LAST)
        await stores[1].close()

        assert await heard.until_last() == []


class TestPostgres:
    @pytest.fixture
    def history_url(self, postgres_history: str) -> str:
        return postgres_history

    async def test_a_connection_that_broke_is_made_anew_and_the_listeners_look_at_everything(
        self, stores: tuple[SqlStore, SqlStore], postgres_history: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        one, other = stores
        async with heard_by(one, Topic.ENDED) as heard, heard_by(other, Topic.ACCEPTED):
            await cut_off(postgres_history)
            async with asyncio.timeout(30):
                while "" not in heard.texts:
                    await asyncio.sleep(0.01)
            other.announce(Topic.ENDED, LAST)

            assert set(await heard.until_last()) == {""}
        assert "connecting again" in caplog.text

    async def test_what_is_announced_while_the_server_is_away_is_sent_afterwards(
        self, stores: tuple[SqlStore, SqlStore], postgres_history: str
    ) -> None:
        one, other = stores
        async with heard_by(one, Topic.ENDED) as heard, heard_by(other, Topic.ACCEPTED):
            await cut_off(postgres_history)
            other.announce(Topic.ENDED, LAST)

            async with asyncio.timeout(30):  # either it listened again in time, or looks at everything once it does
                while not heard.texts:
                    await asyncio.sleep(0.01)

    async def test_a_server_that_is_away_keeps_nobody_waiting(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
            store = SqlStore(f"postgresql://user:pass-word@127.0.0.1:{unused.getsockname()[1]}/db")
            async with heard_by(store, Topic.ENDED) as heard:
                store.announce(Topic.ENDED, LAST)
                assert await heard.until_last() == []  # within the process
            await store.close()


async def cut_off(url: str) -> None:
    """Ends all connections, as a restarting server does."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


class TestSqlite:
    @pytest.fixture
    def history_url(self, sqlite_history: str) -> str:
        return sqlite_history

    @pytest.fixture
    def folder(self, sqlite_history: str) -> Path:
        """Where the sockets are, which may be in the temporary folder: a test's path is long."""
        return folder_of(Path(sqlite_history.removeprefix("sqlite:///")))

    async def test_the_folder_is_private_and_has_the_sockets_of_those_who_listen(
        self, stores: tuple[SqlStore, SqlStore], folder: Path
    ) -> None:
        for number, store in enumerate(stores, 1):
            async with heard_by(store, Topic.ENDED):
                assert folder.stat().st_mode & 0o777 == 0o700
                assert len(list(folder.iterdir())) == number

        await stores[0].close()
        assert len(list(folder.iterdir())) == 1
        await stores[1].close()
        assert not folder.exists()

    async def test_the_socket_of_a_dead_process_is_removed(
        self, stores: tuple[SqlStore, SqlStore], folder: Path
    ) -> None:
        folder.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(str(folder / "1-dead"))

        stores[0].announce(Topic.ENDED, "e1")
        await stores[0].close()

        assert list(folder.iterdir()) == []

    async def test_who_does_not_read_holds_up_nobody_and_is_told_to_look_at_everything_later(
        self, stores: tuple[SqlStore, SqlStore], folder: Path
    ) -> None:
        folder.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow:
            slow.bind(str(folder / "1-slow"))
            slow.setblocking(False)
            for n in range(5_000):
                stores[0].announce(Topic.ENDED, f"e{n}")
                if n % 2:
                    await asyncio.sleep(0)
            read: list[bytes] = []
            async with asyncio.timeout(10):
                while b"accepted \nended " not in read:
                    try:
                        read.append(slow.recv(65_536))
                    except BlockingIOError:
                        await asyncio.sleep(0.01)
        assert read[0] == b"ended e0\nended e1"
        assert len(read) < 2_500

    async def test_a_folder_that_others_can_use_is_not_used(
        self, stores: tuple[SqlStore, SqlStore], folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder.mkdir()
        folder.chmod(0o755)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(folder / "1-other"))
            other.setblocking(False)
            async with heard_by(stores[0], Topic.ENDED) as heard:
                stores[0].announce(Topic.ENDED, LAST)
                await heard.until_last()  # within the process

            with pytest.raises(BlockingIOError):
                other.recv(1)
        assert "is not a folder of this user alone" in caplog.text


def test_sockets_are_beside_the_database_where_that_path_is_not_too_long() -> None:
    assert folder_of(Path("/data/ipaas.db")) == Path("/data/ipaas.db.notices")


def test_else_they_are_in_the_temporary_folder_one_for_each_database() -> None:
    one, other = (folder_of(Path("/data", "x" * 100, f"{name}.db")) for name in ("one", "other"))

    assert one.parent == other.parent == Path(tempfile.gettempdir())
    assert one != other


def test_all_find_the_same_folder_whatever_path_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "history.db").touch()
    (tmp_path / "link.db").symlink_to("history.db")
    monkeypatch.chdir(tmp_path)

    folders = {folder_of(Path(path)) for path in ("history.db", "link.db", tmp_path / "history.db")}

    assert len(folders) == 1


async def test_a_path_that_is_too_long_everywhere_leaves_each_process_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", f"/{'t' * 100}")
    notices, heard = SocketNotices(Path("/data", "x" * 100)), list[str]()
    async with notices.listening(Topic.ENDED, heard.append):
        notices.announce(Topic.ENDED, "e1")
        await notices.close()

    assert heard == ["e1"]
    assert "too long for a socket's address" in caplog.text
