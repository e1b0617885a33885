"""Telling Prefect's server of runs, by its route for that."""

from __future__ import annotations

from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient

from flows.on_prefect.recording.records import PATH, Batch, Recorded


async def record_runs(client: PrefectClient, batch: Batch) -> Recorded:
    """Has Prefect's server write the runs.

    Raises:
        httpx.HTTPError: it does not answer, or does not take the batch.
        ValueError: something in it has no form in UTF-8 JSON; or what came back is no answer of the route.
    """
    headers = {"Content-Type": "application/json"}
    return _read(await _request(client, "POST", content=batch.model_dump_json().encode(), headers=headers))


async def what_is_recorded(client: PrefectClient) -> Recorded | None:
    """With the marker alone; None: the server has no such route, it is not ours. Raises as `record_runs`."""
    try:
        return _read(await _request(client, "GET"))
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (404, 405):
            return None
        raise


async def _request(client: PrefectClient, method: Any, **how: Any) -> httpx.Response:
    return await client.request(method, PATH, **how)  # type: ignore[arg-type]  # not among the client's known routes


def _read(response: httpx.Response) -> Recorded:
    return Recorded.model_validate_json(response.content)
