"""A process of its own that calls an API as many executions at once: `python oauth_worker.py JSON`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from blocks import Keyring, MemoryCredentials
from connectors import http
from connectors.kit.call import Services, current_runner
from connectors.kit.direct import DirectRunner
from connectors.kit.http_client import new_client
from connectors.kit.usable_credentials import usable_credentials
from flows.history import open_store
from foundation.clock import SystemClock
from foundation.masking import Masker
from foundation.settings import Settings


async def work(given: dict[str, Any], calls: int) -> list[int]:
    """The statuses of the answers."""
    settings = Settings(_env_file=None, home=Path(given["home"]))  # type: ignore[call-arg]
    clock, masker, store = SystemClock(), Masker(), open_store(given["url"])
    stored = MemoryCredentials({"crm": given["credential"]}, masker=masker, keyring=Keyring.from_settings(settings))
    await store.open()
    async with (
        new_client() as client,
        usable_credentials(stored, store, client, settings, clock=clock, masker=masker) as credentials,
    ):
        current_runner.set(
            DirectRunner(Services(client, credentials, clock, masker, render=lambda template, data: template))
        )
        answers = await asyncio.gather(*(http.request(url=given["api"], credential="crm") for _ in range(calls)))
    await store.close()
    return [answer["status"] for answer in answers]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(work(json.loads(sys.argv[1]), calls=17))))
