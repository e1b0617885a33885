"""Writes that arrive during a commit share the next one. The database here is a list, a commit is an append."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from flows.history.group_commit import GroupCommit
from foundation.errors import StorageUnavailable


class Database:
    """Commits when it is let: `commits` has what each commit wrote."""

    def __init__(self) -> None:
        self.commits: list[list[int]] = []
        self.rollbacks = 0
        self.open = asyncio.Event()
        self.open.set()
        self.begun = asyncio.Event()
        self.down = False
        self._written: list[int] = []

    async def commit(self, work: Callable[[Any], list[Any]]) -> list[Any]:
        self._written = []
        self.begun.set()
        await self.open.wait()
        try:
            if self.down:
                raise StorageUnavailable("down")
            results = work(self)
        except Exception:
            self.rollbacks += 1
            raise
        self.commits.append(self._written)
        return results

    def write(self, _connection: Connection, items: Sequence[int]) -> list[int]:
        """Refuses negative numbers, and answers with the double."""
        for item in items:
            if item < 0:
                raise ValueError(f"{item} is negative")
            self._written.append(item)
        return [2 * item for item in items]


@pytest.fixture
async def database() -> Database:
    return Database()


def submit(group: GroupCommit, database: Database, item: int) -> asyncio.Task[int]:
    return asyncio.create_task(group.submit(database.write, item))


async def test_a_write_alone_is_committed_at_once(database: Database) -> None:
    assert await GroupCommit(database.commit).submit(database.write, 1) == 2
    assert database.commits == [[1]]


async def test_writes_that_come_during_a_commit_share_the_next_one(database: Database) -> None:
    group = GroupCommit(database.commit)
    database.open.clear()
    first = submit(group, database, 0)
    await database.begun.wait()
    others = [submit(group, database, item) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    database.open.set()

    assert await asyncio.gather(first, *others) == [0, 2, 4, 6]
    assert database.commits == [[0], [1, 2, 3]]


async def test_nobody_is_answered_before_the_commit(database: Database) -> None:
    group = GroupCommit(database.commit)
    database.open.clear()
    call = submit(group, database, 1)
    await database.begun.wait()

    assert not call.done()
    database.open.set()
    assert await call == 2


async def test_a_batch_is_bounded(database: Database) -> None:
    group = GroupCommit(database.commit, max_batch=2)

    await asyncio.gather(*(submit(group, database, item) for item in range(5)))

    assert database.commits == [[0, 1], [2, 3], [4]]


async def test_a_failing_write_fails_alone(database: Database) -> None:
    group = GroupCommit(database.commit)

    results = await asyncio.gather(*(submit(group, database, item) for item in (1, -2, 3)), return_exceptions=True)

    assert [results[0], results[2]] == [2, 6]
    assert isinstance(results[1], ValueError)
    assert database.commits == [[1], [3]]


async def test_a_database_that_is_down_fails_each_call_with_its_own_error_and_is_tried_again(
    database: Database,
) -> None:
    group = GroupCommit(database.commit)
    database.down = True

    results = await asyncio.gather(*(submit(group, database, item) for item in (1, 2)), return_exceptions=True)

    assert [type(result) for result in results] == [StorageUnavailable, StorageUnavailable]
    assert results[0] is not results[1]
    assert database.rollbacks == 1
    database.down = False
    assert await group.submit(database.write, 3) == 6


async def test_a_caller_that_gives_up_leaves_its_neighbours_alone(database: Database) -> None:
    group = GroupCommit(database.commit)
    database.open.clear()
    in_commit = submit(group, database, 0)
    await database.begun.wait()
    waiting, neighbour = submit(group, database, 1), submit(group, database, 2)
    await asyncio.sleep(0)

    in_commit.cancel()
    waiting.cancel()
    database.open.set()

    assert await neighbour == 4
    assert in_commit.cancelled()
    assert waiting.cancelled()
    assert database.commits == [[0], [2]]


async def test_different_writes_keep_their_order(database: Database) -> None:
    group = GroupCommit(database.commit)

    def add_hundred(_connection: Connection, items: Sequence[int]) -> list[int]:
        return [database.write(_connection, [100 + item])[0] for item in items]

    calls = [(database.write, 1), (add_hundred, 2), (database.write, 3)]
    results = await asyncio.gather(*(group.submit(write, item) for write, item in calls))

    assert results == [2, 204, 6]
    assert database.commits == [[1, 102, 3]]


async def test_flushing_waits_for_all_that_was_submitted(database: Database) -> None:
    group = GroupCommit(database.commit, max_batch=1)
    calls = [submit(group, database, item) for item in range(3)]
    await asyncio.sleep(0)

    await group.flush()

    assert database.commits == [[0], [1], [2]]
    await asyncio.gather(*calls)
