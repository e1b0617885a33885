"""What every history does for the tokens of credentials: a part of `StoreSuite`."""

from __future__ import annotations

import asyncio

from store_builders import T0

from blocks.token_state import TokenFailure, TokenHold, TokenState
from flows.history import HistoryStore
from foundation.clock import ManualClock

CRM = ("crm", "oauth2")
REFUSED = TokenFailure("invalid_grant: the token was revoked", lasting=True, settings="s1")


async def claimed(store: HistoryStore, claim: float = 60) -> TokenState:
    state = await store.claim_token(*CRM, claim=claim)
    assert state is not None
    return state


async def the_token(store: HistoryStore) -> TokenState:
    state = await store.token(*CRM)
    assert state is not None
    return state


class TokensSuite:
    async def test_of_a_credential_that_never_had_any_nothing_is_known(self, store: HistoryStore) -> None:
        assert await store.token(*CRM) is None
        assert list(await store.tokens()) == []

    async def test_of_all_who_want_to_renew_them_at_once_one_may(self, store: HistoryStore) -> None:
        claims = await asyncio.gather(*(store.claim_token(*CRM, claim=60) for _ in range(5)))

        assert [claim for claim in claims if claim] == [TokenState(*CRM, run=1)]

    async def test_what_is_stored_is_known_with_the_time_it_has_left(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        assert await store.store_token((await claimed(store)).hold, "sealed-1", expires_in=3600)
        clock.move(seconds=600)

        assert await the_token(store) == TokenState(*CRM, run=1, sealed="sealed-1", left=3000, age=600)
        clock.move(seconds=3000.5)
        assert (await the_token(store)).left == -0.5

    async def test_who_stored_or_gave_back_lets_the_next_one_claim(self, store: HistoryStore) -> None:
        await store.store_token((await claimed(store)).hold, "sealed-1", expires_in=None)
        second = await claimed(store)
        assert (second.run, second.sealed, second.left) == (2, "sealed-1", None)
        await store.release_token(second.hold)

        assert (await claimed(store)).run == 3

    async def test_a_claim_that_is_over_is_anothers_and_writes_nothing(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        stalled = await claimed(store, claim=60)
        clock.move(seconds=59)
        assert await store.claim_token(*CRM, claim=60) is None
        clock.move(seconds=1)
        await claimed(store)

        assert await store.store_token(stalled.hold, "late", expires_in=None) is False
        assert await store.fail_token(stalled.hold, REFUSED, retry=10) is False
        await store.release_token(stalled.hold)
        assert await store.claim_token(*CRM, claim=60) is None
        assert (await the_token(store)).sealed is None

    async def test_a_failure_keeps_the_tokens_and_says_when_to_try_again(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await store.store_token((await claimed(store)).hold, "sealed-1", expires_in=10)
        for failures in (1, 2):
            assert await store.fail_token((await claimed(store)).hold, REFUSED, retry=30)
            state = await the_token(store)
            assert (state.failures, state.failure, state.retry_in, state.sealed) == (failures, REFUSED, 30, "sealed-1")
        clock.move(seconds=40)
        assert (await the_token(store)).retry_in == 0
        await store.store_token((await claimed(store)).hold, "sealed-2", expires_in=10)

        state = await the_token(store)
        assert (state.failures, state.failure, state.sealed) == (0, None, "sealed-2")

    async def test_who_connects_it_is_first_whoever_renews_it(self, store: HistoryStore, clock: ManualClock) -> None:
        renewing = await claimed(store)
        clock.move(seconds=1)
        await store.connect_token(*CRM, "connected", expires_in=60, by="kim")

        state = await the_token(store)
        assert (state.sealed, state.connected_by, state.left) == ("connected", "kim", 60)
        assert state.connected_at is not None
        assert (state.connected_at - T0).total_seconds() == 1
        assert await store.store_token(renewing.hold, "late", expires_in=None) is False
        await claimed(store)

    async def test_connecting_forgets_failures(self, store: HistoryStore) -> None:
        await store.fail_token((await claimed(store)).hold, REFUSED, retry=30)
        await store.connect_token(*CRM, "connected", expires_in=None, by=None)

        state = await the_token(store)
        assert (state.failures, state.failure, state.retry_in) == (0, None, 0)

    async def test_a_consent_is_asked_for_once_and_the_newest_counts(self, store: HistoryStore) -> None:
        await store.begin_connecting(*CRM, "n1")
        await store.begin_connecting(*CRM, "n2")

        assert await store.end_connecting(*CRM, "n1") is False
        assert await store.end_connecting(*CRM, "n2") is True
        assert await store.end_connecting(*CRM, "n2") is False
        assert await store.end_connecting("other", "oauth2", "n2") is False

    async def test_sealing_anew_does_not_undo_a_renewal(self, store: HistoryStore) -> None:
        await store.store_token((await claimed(store)).hold, "old", expires_in=None)

        assert await store.reseal_token(*CRM, before="old", after="resealed") is True
        assert await store.reseal_token(*CRM, before="old", after="again") is False
        assert (await the_token(store)).sealed == "resealed"

    async def test_what_is_forgotten_is_gone(self, store: HistoryStore) -> None:
        held = (await claimed(store)).hold
        await store.claim_token("other", "oauth2", claim=60)
        await store.forget_token(*CRM)

        assert await store.token(*CRM) is None
        assert await store.store_token(held, "late", expires_in=None) is False
        assert [one.credential for one in await store.tokens()] == ["other"]
        assert await store.store_token(TokenHold(*CRM, 1), "late", expires_in=None) is False
