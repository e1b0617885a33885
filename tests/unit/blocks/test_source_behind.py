"""A known credential is used at once and loaded anew behind its users, whatever Prefect does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.exceptions import ObjectNotFound

from blocks import BearerToken, Keyring, PrefectCredentials, seal_document_data
from blocks import source as source_module
from foundation.clock import ManualClock
from foundation.errors import CredentialError
from foundation.masking import MASK, Masker

RING = Keyring.generate()


class FakePrefect:
    """As much of Prefect's API as loading takes; it hangs while `answering` is not set."""

    def __init__(self) -> None:
        self.answering = asyncio.Event()
        self.answering.set()
        self.times = 0
        self.token: str | None = "first-token"
        self._stored: dict[str, Any] = {}

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        self.times += 1
        await self.answering.wait()
        yield self

    async def read_block_document_by_name(self, name: str, slug: str) -> Any:
        if self.token is None:
            raise ObjectNotFound(httpx.HTTPError("404"))
        if self.token not in self._stored:
            self._stored = {self.token: seal_document_data(slug, {"token": self.token}, RING, document=name)}
        return SimpleNamespace(id="1", name=name, data=self._stored[self.token])

    async def request(self, *arguments: Any, **named: Any) -> Any:
        return SimpleNamespace(json=list)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def prefect() -> FakePrefect:
    return FakePrefect()


@pytest.fixture
def credentials(prefect: FakePrefect, clock: ManualClock) -> PrefectCredentials:
    return PrefectCredentials(RING, masker=Masker(), clock=clock, ttl=5, patience=0.01, connect=prefect.connect)  # type: ignore[arg-type]


async def token(credentials: PrefectCredentials) -> str:
    return (await credentials.get("shop", BearerToken)).reveal("token")


async def settled() -> None:
    """Lets what goes on behind come to its end."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_in_steady_use_nobody_waits_for_prefect(
    credentials: PrefectCredentials, prefect: FakePrefect, clock: ManualClock
) -> None:
    await token(credentials)
    prefect.token = "second-token"
    clock.move(seconds=4.6)

    assert await token(credentials) == "first-token"
    await settled()
    assert await token(credentials) == "second-token"
    assert prefect.times == 2


async def test_a_prefect_that_hangs_slows_nobody_down(
    credentials: PrefectCredentials, prefect: FakePrefect, clock: ManualClock
) -> None:
    await token(credentials)
    prefect.answering.clear()
    clock.move(minutes=10)

    assert await token(credentials) == "first-token"  # after a moment's patience
    async with asyncio.timeout(0):  # without any: whoever waits at all fails
        for _ in range(100):
            assert await token(credentials) == "first-token"
    assert prefect.times == 2


async def test_what_a_prefect_says_that_took_its_time_counts(
    credentials: PrefectCredentials, prefect: FakePrefect, clock: ManualClock
) -> None:
    await token(credentials)
    prefect.answering.clear()
    clock.move(seconds=60)
    assert await token(credentials) == "first-token"

    prefect.token = "second-token"
    prefect.answering.set()
    await settled()

    assert await token(credentials) == "second-token"


async def test_after_a_quiet_time_a_change_is_seen_by_the_first_who_asks(
    prefect: FakePrefect, clock: ManualClock
) -> None:
    credentials = PrefectCredentials(RING, masker=Masker(), clock=clock, ttl=5, connect=prefect.connect)  # type: ignore[arg-type]
    await token(credentials)
    prefect.token = "second-token"
    clock.move(minutes=10)

    assert await token(credentials) == "second-token"


async def test_one_that_is_gone_is_not_used_any_more(
    credentials: PrefectCredentials, prefect: FakePrefect, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await token(credentials)
    prefect.token = None
    clock.move(seconds=4.6)
    assert await token(credentials) == "first-token"
    await settled()

    with pytest.raises(CredentialError, match="does not exist"):
        await token(credentials)
    assert "credential 'shop' is not used any more" in caplog.text


async def test_a_prefect_that_is_away_for_long_ends_its_use(
    credentials: PrefectCredentials, prefect: FakePrefect, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.documents.TIMEOUT", 0.01)
    await token(credentials)
    prefect.answering.clear()
    clock.move(seconds=source_module.GRACE - 1)
    assert await token(credentials) == "first-token"
    await asyncio.sleep(0.05)
    clock.move(seconds=6)

    with pytest.raises(CredentialError) as caught:
        await token(credentials)
    assert caught.value.retriable


async def test_who_asks_first_waits_and_shares_the_answer(
    credentials: PrefectCredentials, prefect: FakePrefect
) -> None:
    prefect.answering.clear()
    asking = [asyncio.create_task(token(credentials)) for _ in range(5)]
    await settled()
    assert not any(task.done() for task in asking)

    prefect.answering.set()

    assert await asyncio.gather(*asking) == ["first-token"] * 5
    assert prefect.times == 1


async def test_one_of_several_who_gives_up_does_not_take_the_answer_from_the_others(
    credentials: PrefectCredentials, prefect: FakePrefect
) -> None:
    prefect.answering.clear()
    hasty, patient = (asyncio.create_task(token(credentials)) for _ in range(2))
    await settled()
    hasty.cancel()
    await settled()
    prefect.answering.set()

    assert await patient == "first-token"


async def test_a_replaced_secret_is_masked_until_it_is_out_of_use(prefect: FakePrefect, clock: ManualClock) -> None:
    masker = Masker()
    credentials = PrefectCredentials(RING, masker=masker, clock=clock, connect=prefect.connect)  # type: ignore[arg-type]
    await token(credentials)
    prefect.token = "second-token"
    clock.move(seconds=source_module.TTL)
    await token(credentials)
    assert masker.mask("first-token second-token") == f"{MASK} {MASK}"

    clock.move(seconds=source_module.IN_USE)
    await token(credentials)

    assert masker.mask("first-token second-token") == f"first-token {MASK}"


async def test_an_unchanged_credential_stays_the_same_however_often_it_is_loaded(
    credentials: PrefectCredentials, prefect: FakePrefect, clock: ManualClock
) -> None:
    first = await credentials.get("shop", BearerToken)
    for _ in range(3):
        clock.move(seconds=source_module.TTL)
        assert await credentials.get("shop", BearerToken) is first
    assert prefect.times == 4
