"""How far a long loop has come, as a progress artifact of its task run in Prefect's UI."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

import httpx
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.exceptions import PrefectException

from flows.language.step import Progress

logger = logging.getLogger("ipaas.progress")

EVERY_SECONDS: Final = 5.0
"""How often it is told. A loop that is over sooner has none."""


@asynccontextmanager
async def showing(progress: Callable[[], Progress] | None, path: str) -> AsyncIterator[None]:
    """Within it the progress is shown, to be entered in the loop's task run."""
    if progress is None:
        yield
        return
    shown = _Shown(progress, path)
    telling = asyncio.create_task(shown.tell())
    try:
        yield
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        if shown.artifact is not None:
            await shown.update()


class _Shown:
    def __init__(self, progress: Callable[[], Progress], path: str) -> None:
        self._progress, self._path = progress, path
        self.artifact: UUID | None = None

    async def tell(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.update()

    async def update(self) -> None:
        """What can't be shown is no reason to stop: the history has it all."""
        now = self._progress()
        percent, said = 100 * now.done / now.of, f"{self._path}: {now}"
        try:
            if self.artifact is None:
                key = re.sub("[^a-z0-9]+", "-", self._path.lower()).strip("-")
                self.artifact = await acreate_progress_artifact(percent, key, said)
            else:
                await aupdate_progress_artifact(self.artifact, percent, said)
        except (httpx.HTTPError, PrefectException, OSError) as error:
            logger.info("%s: its progress could not be shown: %s", self._path, error)
