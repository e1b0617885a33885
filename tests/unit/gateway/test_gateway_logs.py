"""Log lines: JSON, with the ids of what they are about, without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway_under_test import ORDERS, gateway

from foundation.log_fields import log_fields
from foundation.masking import Masker
from ipaas.logs import log_handler


@contextmanager
def logged(masker: Masker | None = None) -> Iterator[list[dict[str, Any]]]:
    """The lines that are logged within, once it is left."""
    stream, lines = io.StringIO(), list[dict[str, Any]]()
    handler = log_handler(stream, as_text=False, masker=masker or Masker())
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)
        lines += [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_the_fields_it_was_logged_within():
    with logged() as lines, log_fields(workflow="orders", execution="e-1"), log_fields(step="notify"):
        logging.getLogger("test").warning("sent %d", 3, extra={"status": 200})
    [line] = lines
    assert line.pop("time").endswith("+00:00")
    expected = {"workflow": "orders", "execution": "e-1", "step": "notify", "status": 200}
    assert line == {"level": "warning", "logger": "test", "message": "sent 3"} | expected


def test_outside_of_any_work_a_line_has_no_such_fields():
    with log_fields(step="notify"):
        pass
    with logged() as lines:
        logging.getLogger("test").warning("idle")
    assert "step" not in lines[0]


async def test_tasks_carry_the_fields_they_were_begun_within():
    async def work() -> None:
        logging.getLogger("test").warning("working")

    with logged() as lines:
        with log_fields(execution="e-1"):
            begun = [asyncio.create_task(work())]
        with log_fields(execution="e-2"):
            begun.append(asyncio.create_task(work()))
        await asyncio.gather(*begun)
    assert [line["execution"] for line in lines] == ["e-1", "e-2"]


def test_secrets_are_masked_in_messages_fields_and_tracebacks():
    masker = Masker()
    masker.add("s3cret-token")
    with logged(masker) as lines, log_fields(step="s3cret-token"):
        try:
            raise ValueError("s3cret-token is wrong")
        except ValueError:
            logging.getLogger("test").exception("failed with %s", "s3cret-token")
    assert "s3cret-token" not in json.dumps(lines)
    assert "ValueError: ******** is wrong" in lines[0]["exception"]


async def test_what_the_gateway_says_of_a_request_has_its_id_and_workflow():
    text = ORDERS.replace("auth: none", "auth: {scheme: api-key, credential: shop}")
    async with gateway(text, credentials={"shop": {"key": "s3cret-key"}}) as under_test:
        with logged() as lines:
            await under_test.post({}, headers={"X-API-Key": "wrong", "X-Request-Id": "call-7"})
    [line] = [line for line in lines if "refused a delivery" in line["message"]]
    assert (line["request"], line["workflow"]) == ("call-7", "orders")
