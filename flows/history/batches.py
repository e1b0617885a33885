"""Batches in SQL: one execution's event gets the events of others, in the transaction that ends those."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from sqlalchemy import Connection, func, select, update

from flows.history import payloads
from flows.history.flow_control import with_batch
from flows.history.models import events, executions
from flows.history.models import payloads as documents
from flows.history.payloads import LargeDocuments
from flows.history.records import Limits

MOST_CHARACTERS = 16 * 1024 * 1024
"""A batch that would be larger is closed before."""


def gather(connection: Connection, ids: Sequence[str]) -> Sequence[str]:
    """Gives the first one the events of all, in their order. Those that fit in; the others are for another batch."""
    fit = _that_fit(connection, ids)
    query = select(executions.c.id, events.c.document).join_from(
        executions, events, events.c.id == executions.c.event_id
    )
    rows = connection.execute(query.where(executions.c.id.in_(fit))).mappings()
    texts = {row["id"]: row["document"] for row in payloads.whole(connection, rows, "document")}
    large = LargeDocuments(fit[0], Limits().inline_bytes)
    whole = large.place(with_batch([texts[id_] for id_ in fit]))
    event = select(executions.c.event_id).where(executions.c.id == fit[0]).scalar_subquery()
    connection.execute(update(events).where(events.c.id == event).values(document=whole))
    payloads.keep(connection, [large])
    return fit


def _that_fit(connection: Connection, ids: Sequence[str]) -> Sequence[str]:
    """At least the first one."""
    length = func.coalesce(func.length(documents.c.document), func.length(events.c.document))
    query = (
        select(executions.c.id, length)
        .join_from(executions, events, events.c.id == executions.c.event_id)
        .outerjoin(documents, documents.c.hash == func.substr(events.c.document, len(payloads.REFERENCE) + 1))
        .where(executions.c.id.in_(ids))
    )
    lengths = {row[0]: row[1] for row in connection.execute(query)}
    total = accumulate(lengths[id_] for id_ in ids)
    return [id_ for at, (id_, sum_) in enumerate(zip(ids, total, strict=True)) if at == 0 or sum_ <= MOST_CHARACTERS]
