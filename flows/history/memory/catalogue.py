"""`Catalogue` in memory."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flows.history.flow_control import ARRIVED, QUEUE
from flows.history.memory.polls import MemoryPolls
from flows.history.memory.state import KeptWorkflow, stored
from flows.history.polled import declared_polls
from flows.history.records import Json, Workflow, WorkflowVersion
from flows.history.rows import checked_limit
from flows.history.rules import declared_limit, declared_rules

EPOCH = datetime.min.replace(tzinfo=UTC)


class MemoryCatalogue(MemoryPolls):
    async def publish(self, version: WorkflowVersion) -> bool:
        now, key = self._clock.now(), (version.workflow, version.version)
        if key not in self._versions:
            self._versions[key] = replace(
                version,
                tags=tuple(version.tags),
                declaration=stored(version.declaration),
                created_at=version.created_at or now,
            )
        known = self._workflows.get(version.workflow)
        if known is not None and known.current == version.version:
            return False
        limit, overflow = declared_limit(version.declaration)
        fresh = KeptWorkflow(version.version, limit, overflow, now, rules=stored(declared_rules(version.declaration)))
        if known is not None:
            fresh = replace(fresh, active=known.active, deployment_id=known.deployment_id)
            self._change_rules(version.workflow, known.rules, fresh.rules)
        self._workflows[version.workflow] = fresh
        self._declare_polls(version.workflow, declared_polls(version.declaration))
        return True

    def _change_rules(self, workflow: str, before: Json, now: Json) -> None:
        """Where they are others than before, all that waits is looked at anew."""
        if before == now:
            return
        for kept in self._executions.values():
            if kept.execution.workflow == workflow and kept.is_waiting and kept.lane != QUEUE:
                kept.lane = ARRIVED
        self._lanes = {key: lane for key, lane in self._lanes.items() if key[0] != workflow}

    async def workflows(self) -> Sequence[Workflow]:
        return [self._record(name) for name in sorted(self._workflows)]

    async def workflow(self, name: str) -> Workflow | None:
        return self._record(name) if name in self._workflows else None

    async def version(self, workflow: str, version: str) -> WorkflowVersion | None:
        return copy.deepcopy(self._versions.get((workflow, version)))

    async def versions(self, workflow: str) -> Sequence[WorkflowVersion]:
        found = sorted(
            (one for one in self._versions.values() if one.workflow == workflow), key=lambda one: one.version
        )
        return copy.deepcopy(sorted(found, key=lambda one: one.created_at or EPOCH, reverse=True))

    async def prune_versions(self, *, before: datetime, keep: int) -> int:
        needed = {(one.execution.workflow, one.execution.version) for one in self._executions.values()}
        needed |= {(name, known.current) for name, known in self._workflows.items()}
        gone = 0
        for workflow in {name for name, _ in self._versions}:
            for one in (await self.versions(workflow))[keep:]:
                key = (one.workflow, one.version)
                if key not in needed and (one.created_at or EPOCH) < before:
                    del self._versions[key]
                    gone += 1
        return gone

    async def set_active(self, workflow: str, active: bool) -> bool:
        return self._change(workflow, active=active)

    async def set_deployment(self, workflow: str, deployment_id: str | None) -> None:
        self._change(workflow, deployment_id=deployment_id)

    async def set_limit(self, workflow: str, limit: int) -> None:
        self._change(workflow, concurrency_limit=checked_limit(limit))

    def _change(self, name: str, **values: Any) -> bool:
        if (known := self._workflows.get(name)) is None:
            return False
        self._workflows[name] = replace(known, **values, updated_at=self._clock.now())
        return True

    def _record(self, name: str) -> Workflow:
        known = self._workflows[name]
        return Workflow(
            name=name,
            active=known.active,
            current=copy.deepcopy(self._versions[name, known.current]),
            deployment_id=known.deployment_id,
            updated_at=known.updated_at,
            concurrency_limit=known.concurrency_limit,
            overflow=known.overflow,
        )
