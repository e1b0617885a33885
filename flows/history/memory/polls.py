"""`Polls` in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from flows.history.memory.inbox import MemoryInbox
from flows.history.memory.state import KeptPoll, stored
from flows.history.polled import KEPT_KEYS, PollHold, PollState
from flows.history.records import Json, NewExecution


class MemoryPolls(MemoryInbox):
    def _declare_polls(self, workflow: str, declared: Mapping[str, Mapping[str, Json]]) -> None:
        now = self._clock.now()
        known = {source: kept for (of, source), kept in self._polls.items() if of == workflow}
        for source in known.keys() - declared.keys():
            del self._polls[workflow, source]
        for source, poll in declared.items():
            if source not in known:
                state = PollState(workflow, source, poll["every"], active=True, due_at=now, age=0.0)
                self._polls[workflow, source] = KeptPoll(state, now)
            self._polls[workflow, source].change(every=poll["every"], due_at=now)

    async def claim_poll(self, *, claim: float) -> PollState | None:
        now = self._clock.now()
        free = [kept for kept in self._polls.values() if kept.claimed_until is None or kept.claimed_until <= now]
        due = [kept for kept in free if self._workflows[kept.state.workflow].active and kept.state.due_at <= now]
        if not due:
            return None
        kept = min(due, key=lambda one: (one.state.due_at, one.state.workflow, one.state.source))
        kept.claimed_until = now + timedelta(seconds=claim)
        kept.change(run=kept.state.run + 1)
        return self._shown_poll(kept)

    async def known_keys(self, hold: PollHold, keys: Sequence[str]) -> frozenset[str]:
        kept = self._polls.get((hold.workflow, hold.source))
        return frozenset(key for key in keys if kept and key in kept.keys)

    async def finish_poll(
        self, hold: PollHold, *, keys: Sequence[str], new: Sequence[NewExecution], cursor: Json
    ) -> bool:
        kept = self._held_poll(hold)
        if kept is None:
            return False
        cursor = stored(cursor)
        await self.accept(new)
        now = self._clock.now()
        kept.keys |= dict.fromkeys(keys, hold.run)
        older = sorted((run for run in kept.keys.values() if run < hold.run), reverse=True)
        if keys and len(older) >= KEPT_KEYS:
            kept.keys = {key: run for key, run in kept.keys.items() if run >= older[KEPT_KEYS - 1]}
        due_at = now + timedelta(seconds=kept.state.every)
        kept.change(polled_at=now, due_at=due_at, failures=0, error=None, cursor=cursor)
        kept.claimed_until = None
        return True

    async def fail_poll(self, hold: PollHold, *, error: Json, retry: float) -> bool:
        kept = self._held_poll(hold)
        if kept is None:
            return False
        due_at = self._clock.now() + timedelta(seconds=retry)
        kept.change(failures=kept.state.failures + 1, error=stored(error), due_at=due_at)
        kept.claimed_until = None
        return True

    async def release_poll(self, hold: PollHold) -> None:
        if kept := self._held_poll(hold):
            kept.claimed_until = None

    async def polls(self, workflow: str | None = None) -> Sequence[PollState]:
        found = [key for key in sorted(self._polls) if workflow in (None, key[0])]
        return [self._shown_poll(self._polls[key]) for key in found]

    def _held_poll(self, hold: PollHold) -> KeptPoll | None:
        kept = self._polls.get((hold.workflow, hold.source))
        return kept if kept and kept.state.run == hold.run and kept.claimed_until is not None else None

    def _shown_poll(self, kept: KeptPoll) -> PollState:
        age = (self._clock.now() - (kept.state.polled_at or kept.declared_at)).total_seconds()
        return replace(kept.state, active=self._workflows[kept.state.workflow].active, age=age)
