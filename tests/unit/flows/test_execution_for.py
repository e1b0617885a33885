"""Which execution a flow run is for."""

from __future__ import annotations

from uuid import uuid4

import pytest
from executing import bench, in_yaml
from prefect.client.schemas.objects import FlowRun
from store_builders import accepted, begin

from flows.history import MemoryStore
from flows.on_prefect.run import EXECUTION_LABEL, execution_for

PROGRAM = in_yaml("steps: [{id: note, uses: log.message, with: {text: hi}}]").program


class Counting(MemoryStore):
    asked = 0

    async def execution_of_flow_run(self, flow_run_id: str):
        self.asked += 1
        return await super().execution_of_flow_run(flow_run_id)


@pytest.mark.parametrize(("runs", "asked"), [(0, 0), (1, 0), (2, 1)])
async def test_the_run_made_for_an_execution_asks_nobody_until_it_runs_again(runs: int, asked: int):
    store = Counting()
    async with bench(store=store) as on:
        execution_id = await accepted(store)
        flow_run = FlowRun(flow_id=uuid4(), labels={EXECUTION_LABEL: execution_id}, run_count=runs)
        await begin(store, execution_id, flow_run_id=str(flow_run.id))

        assert await execution_for(on.runtime, PROGRAM, None, flow_run) == execution_id
    assert store.asked == asked
