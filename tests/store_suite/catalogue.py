"""What every `HistoryStore` does about published workflows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from store_builders import (
    HOUR,
    T0,
    a_version,
    accepted,
    ended,
)

from flows.history import HistoryStore
from foundation.clock import ManualClock


class CatalogueSuite:
    async def test_a_published_workflow_is_active_and_has_its_version(self, store: HistoryStore) -> None:
        version = a_version(description="Orders", tags=["sales", "eu"], declaration={"triggers": [{"path": "orders"}]})

        assert await store.publish(version) is True

        stored = replace(version, tags=("sales", "eu"), created_at=T0)
        workflow = await store.workflow("orders")
        assert workflow is not None
        assert (workflow.name, workflow.active, workflow.current) == ("orders", True, stored)
        assert (workflow.deployment_id, workflow.updated_at) == (None, T0)
        assert await store.version("orders", "v1") == stored

    async def test_publishing_the_current_version_again_changes_nothing(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await store.publish(a_version())
        before = await store.workflow("orders")
        clock.move(hours=1)

        assert await store.publish(a_version()) is False
        assert await store.workflow("orders") == before

    async def test_publishing_an_older_version_again_makes_it_the_current_one(
        self, store: HistoryStore, clock: ManualClock
    ) -> None:
        await store.publish(a_version("v1"))
        await store.publish(a_version("v2", source="name: orders # 2"))
        clock.move(hours=1)

        assert await store.publish(a_version("v1")) is True

        workflow = await store.workflow("orders")
        assert workflow is not None
        assert (workflow.current.version, workflow.current.created_at) == ("v1", T0)
        assert workflow.updated_at == T0 + HOUR
        newer = await store.version("orders", "v2")
        assert newer is not None
        assert newer.source == "name: orders # 2"

    async def test_publishing_keeps_a_workflow_inactive_and_its_deployment(self, store: HistoryStore) -> None:
        await store.publish(a_version("v1"))
        await store.set_active("orders", False)
        await store.set_deployment("orders", "deployment-1")

        await store.publish(a_version("v2"))

        workflow = await store.workflow("orders")
        assert workflow is not None
        assert (workflow.active, workflow.deployment_id) == (False, "deployment-1")

    async def test_a_workflow_is_deactivated_and_activated(self, store: HistoryStore, clock: ManualClock) -> None:
        await store.publish(a_version())
        clock.move(hours=1)

        assert await store.set_active("orders", False) is True
        inactive = await store.workflow("orders")
        assert await store.set_active("orders", True) is True
        active = await store.workflow("orders")

        assert inactive is not None
        assert active is not None
        assert (inactive.active, inactive.updated_at, active.active) == (False, T0 + HOUR, True)

    async def test_workflows_are_listed_by_name(self, store: HistoryStore) -> None:
        for name in ("b", "a", "c"):
            await store.publish(a_version(workflow=name))

        assert [workflow.name for workflow in await store.workflows()] == ["a", "b", "c"]

    async def test_a_workflow_has_the_limit_that_its_version_declares(self, store: HistoryStore) -> None:
        await store.publish(a_version("v1", workflow="plain"))
        await store.publish(a_version("v1", declaration={"concurrency": {"limit": 3, "overflow": "cancel"}}))
        published = await store.workflow("orders")
        await store.set_limit("orders", 7)
        await store.publish(a_version("v1", declaration={"concurrency": {"limit": 3, "overflow": "cancel"}}))
        changed = await store.workflow("orders")
        await store.publish(a_version("v2", declaration={"concurrency": {"limit": 4, "overflow": "wait"}}))

        listed = [(one.name, one.concurrency_limit, one.overflow) for one in await store.workflows()]
        assert published is not None
        assert changed is not None
        assert (published.concurrency_limit, published.overflow) == (3, "cancel")
        assert (changed.concurrency_limit, changed.overflow) == (7, "cancel")
        assert listed == [("orders", 4, "wait"), ("plain", 10, "wait")]

    async def test_a_limit_is_not_negative(self, store: HistoryStore) -> None:
        await store.publish(a_version())

        with pytest.raises(ValueError, match="-1 is no limit"):
            await store.set_limit("orders", -1)

    async def test_a_deployment_is_forgotten(self, store: HistoryStore) -> None:
        await store.publish(a_version())
        await store.set_deployment("orders", "deployment-1")

        await store.set_deployment("orders", None)

        workflow = await store.workflow("orders")
        assert workflow is not None
        assert workflow.deployment_id is None

    async def test_versions_are_listed_the_newest_first(self, store: HistoryStore, clock: ManualClock) -> None:
        for version in ("v2", "v1", "v3"):
            await store.publish(a_version(version, source=f"name: orders # {version}"))
            clock.move(hours=1)
        await store.publish(a_version("v2"))
        await store.publish(a_version("v9", workflow="other"))

        found = await store.versions("orders")

        assert [(one.version, one.created_at) for one in found] == [
            ("v3", T0 + 2 * HOUR),
            ("v1", T0 + HOUR),
            ("v2", T0),
        ]
        assert found[0].source == "name: orders # v3"
        assert await store.versions("nobody") == []

    async def test_old_versions_go_that_nothing_needs(self, store: HistoryStore, clock: ManualClock) -> None:
        for number in range(6):
            await store.publish(a_version(f"v{number}"))
            await store.publish(a_version(f"v{number}", workflow="few"))
            clock.move(hours=1)
        await store.publish(a_version("v0"))  # back to the first one
        await ended(store, version="v1")
        await accepted(store, version="v2")
        await accepted(store, version="v3", workflow="few")

        assert await store.prune_versions(before=T0 + 4 * HOUR, keep=1) == 1 + 3

        assert [one.version for one in await store.versions("orders")] == ["v5", "v4", "v2", "v1", "v0"]
        assert [one.version for one in await store.versions("few")] == ["v5", "v4", "v3"]
        assert await store.prune_versions(before=T0 + 4 * HOUR, keep=1) == 0

    async def test_the_newest_versions_are_kept_however_old(self, store: HistoryStore, clock: ManualClock) -> None:
        for number in range(4):
            await store.publish(a_version(f"v{number}"))
            clock.move(hours=1)

        assert await store.prune_versions(before=T0 + 99 * HOUR, keep=3) == 1

        assert [one.version for one in await store.versions("orders")] == ["v3", "v2", "v1"]

    async def test_an_execution_is_asked_for_its_version(self, store: HistoryStore) -> None:
        execution_id = await accepted(store, version="v7")

        assert await store.version_of(execution_id) == "v7"
        assert await store.version_of("nobody") is None

    async def test_an_unknown_workflow_is_nothing(self, store: HistoryStore) -> None:
        assert await store.workflow("orders") is None
        assert await store.version("orders", "v1") is None
        assert await store.set_active("orders", False) is False
        await store.set_limit("orders", 1)
        assert await store.workflows() == []
