"""Rate limits per sender and per workflow; off unless the settings name a rate."""

from __future__ import annotations

import logging
import math
import time

from limits import RateLimitItem, parse
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import ConfigurationError as BadStorage
from limits.errors import StorageError
from limits.storage import storage_from_string

from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.gateway.problems import Problem
from ipaas.logs import SparseLog

logger = logging.getLogger("ipaas.gateway")


class Rates:
    """Counted in this process, or in a Redis that several gateways share.

    A Redis that does not answer lets everything pass: the backlog still bounds what is taken.

    Raises:
        ConfigurationError: a rate or the storage can't be understood.
    """

    def __init__(self, settings: Settings) -> None:
        self._per_sender = _rate("IPAAS_RATE_LIMIT_PER_SENDER", settings.rate_limit_per_sender)
        self._per_workflow = _rate("IPAAS_RATE_LIMIT_PER_WORKFLOW", settings.rate_limit_per_workflow)
        self._log = SparseLog(logger)
        if self._per_sender or self._per_workflow:
            self._limiter = FixedWindowRateLimiter(_storage(settings.rate_limit_storage))

    async def check_sender(self, address: str) -> None:
        """Counts one request of an address. Raises Problem 429."""
        if self._per_sender:
            await self._check(self._per_sender, "sender", address, "this address sends")

    async def check_workflow(self, workflow: str) -> None:
        """Counts one verified event. Raises Problem 429."""
        if self._per_workflow:
            await self._check(self._per_workflow, "workflow", workflow, f"workflow {workflow} gets")

    async def _check(self, rate: RateLimitItem, kind: str, who: str, subject: str) -> None:
        try:
            if await self._limiter.hit(rate, kind, who):
                return
            reset, _ = await self._limiter.get_window_stats(rate, kind, who)
        except StorageError as error:
            self._log.warning("rate limits are not held, their storage does not answer: %s", error)
            return
        seconds = max(1, math.ceil(reset - time.time()))
        detail = f"{subject} more than {rate.amount} per {rate.multiples} {rate.GRANULARITY.name}"
        raise Problem(429, detail, reason=f"{kind}_rate", headers={"Retry-After": str(seconds)})


def _rate(variable: str, value: str | None) -> RateLimitItem | None:
    try:
        return parse(value) if value else None
    except ValueError:
        raise ConfigurationError(f"{variable}: {value!r} is no rate; write it as 100/second or 1000/minute") from None


def _storage(url: str) -> Storage:
    try:
        storage = storage_from_string(f"async+{url.removeprefix('async+')}", wrap_exceptions=True, **_options(url))
    except (BadStorage, ValueError) as error:
        raise ConfigurationError(f"IPAAS_RATE_LIMIT_STORAGE: {error}") from None
    assert isinstance(storage, Storage)  # noqa: S101 - what `async+` asks for
    return storage


def _options(url: str) -> dict[str, str]:
    return {"implementation": "redispy"} if "redis" in url.partition(":")[0] else {}
