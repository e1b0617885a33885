"""How every history wakes who listens, in the process that announces: a part of `StoreSuite`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flows.history import HistoryStore, Topic

LAST = "the last one"


class Heard:
    """What a listener has heard, in order."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._last = asyncio.Event()

    def __call__(self, text: str) -> None:
        self.texts.append(text)
        if text == LAST:
            self._last.set()

    async def until_last(self) -> list[str]:
        """All but the last one, once that has come."""
        async with asyncio.timeout(10):
            await self._last.wait()
        return self.texts[:-1]


@asynccontextmanager
async def heard_by(store: HistoryStore, topic: Topic) -> AsyncIterator[Heard]:
    heard = Heard()
    async with store.listening(topic, heard):
        yield heard


class NoticesSuite:
    async def test_who_listens_to_a_topic_hears_its_notices_and_no_others(self, store: HistoryStore) -> None:
        async with heard_by(store, Topic.ENDED) as one, heard_by(store, Topic.ENDED) as another:
            store.announce(Topic.ENDED, "e1")
            store.announce(Topic.ACCEPTED, "e2")
            store.announce(Topic.ENDED, LAST)

            assert await one.until_last() == await another.until_last() == ["e1"]

    async def test_what_is_announced_again_before_it_is_sent_is_heard_once(self, store: HistoryStore) -> None:
        async with heard_by(store, Topic.ACCEPTED) as heard:
            for _ in range(100):
                store.announce(Topic.ACCEPTED)
            store.announce(Topic.ACCEPTED, LAST)

            assert await heard.until_last() == [""]

    async def test_who_has_left_hears_nothing_more(self, store: HistoryStore) -> None:
        async with heard_by(store, Topic.ENDED) as left:
            pass
        async with heard_by(store, Topic.ENDED) as heard:
            store.announce(Topic.ENDED, LAST)
            await heard.until_last()

        assert left.texts == []

    async def test_a_listener_that_fails_takes_nothing_from_the_others(
        self, store: HistoryStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fails(text: str) -> None:
            raise RuntimeError("not today")

        async with store.listening(Topic.ENDED, fails), heard_by(store, Topic.ENDED) as heard:
            store.announce(Topic.ENDED, "e1")
            store.announce(Topic.ENDED, LAST)

            assert await heard.until_last() == ["e1"]
        assert "not today" in caplog.text

    @pytest.mark.parametrize("text", ["two\nlines", "über", "\ud800", "x" * 201])
    async def test_a_text_that_is_no_id_is_heard_as_any(self, store: HistoryStore, text: str) -> None:
        async with heard_by(store, Topic.ENDED) as heard:
            store.announce(Topic.ENDED, text)
            store.announce(Topic.ENDED, LAST)

            assert await heard.until_last() == [""]
