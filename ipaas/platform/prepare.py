"""What `ipaas up` needs Prefect's and the database's libraries for, in a process of its own that ends when it is done.

`python -m ipaas.platform.prepare FD [PATH…]`: checks and compiles the workflows, upgrades the history, and writes a
byte to the file descriptor: now gateway and worker can start. Then it waits for Prefect's server, shows it our
credential types, and deploys the workflows. What is wrong is said on standard error, and is exit code 1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import httpx
from prefect.client.orchestration import PrefectClient

from blocks import BLOCK_TYPES, Keyring
from connectors.kit.registry import load_connectors
from flows.history.migrations import upgrade
from foundation.errors import IpaasError
from foundation.settings import Settings
from ipaas.checking import CATALOG
from ipaas.connection import history, prefect, prefect_answers
from ipaas.credentials import missing_here
from ipaas.failing import fail
from ipaas.logs import set_up_logging
from ipaas.publish import compile_files, deploy
from ipaas.tokens import full_tokens

logger = logging.getLogger("ipaas.prepare")


async def prepare(settings: Settings, workflows: Sequence[Path], history_is_ready: int) -> None:
    """Raises ConfigurationError, DefinitionErrors, StorageUnavailable."""
    Keyring.from_settings(settings)
    full_tokens(settings)
    flows = await asyncio.to_thread(compile_files, workflows or [CATALOG])
    await upgrade(settings.database)
    os.write(history_is_ready, b".")
    os.close(history_is_ready)
    await prefect_answers()
    async with prefect() as client, history(settings) as store:
        await register_block_types(client)
        for fault in await missing_here([flow.published for flow in flows], lambda: nullcontext(client)):
            logger.warning("%s", fault)
        await deploy(client, store, flows)


async def register_block_types(client: PrefectClient) -> None:
    """Shows our credential types, and those of other packages, among the blocks of Prefect's UI."""
    load_connectors()
    for block_type in BLOCK_TYPES.values():
        await block_type.register_type_and_schema(client=client)


def main() -> int:
    settings = Settings()
    set_up_logging(settings)
    history_is_ready, *workflows = sys.argv[1:]
    try:
        asyncio.run(prepare(settings, [Path(one) for one in workflows], int(history_is_ready)))
    except (IpaasError, OSError, httpx.HTTPError) as error:
        fail(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
