"""Which deliveries are known: each dedupe key belongs to the first execution that came with it.

A delivery may have several keys, and deliveries may share some of them. So all keys of a batch are taken first, in
their order: whoever comes with one of them at the same time waits until we have committed. Then it is settled, arrival
by arrival, whose they are. A key that came with duplicates only is given back: were it kept, a sender who is not
trusted could have the delivery that it really belongs to taken for a duplicate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection, bindparam, delete, select, update

from flows.history.database import upsert
from flows.history.models import deliveries
from flows.history.rows import Row


class Delivered(Protocol):
    @property
    def id(self) -> str:
        """Its execution's."""
        ...

    @property
    def deliveries(self) -> Sequence[Row]:
        """One for each of its keys."""
        ...


def take(connection: Connection, arrivals: Sequence[Delivered], now: datetime) -> list[str | None]:
    """For each arrival: None when it is the first with its keys, which are its own now; else the first's execution."""
    wanted: dict[str, Row] = {}
    for arrival in arrivals:
        for row in arrival.deliveries:
            wanted.setdefault(row["key"], row)
    known = _take_all(connection, wanted, now)
    holders, own = dict(known), dict[str, Row]()
    firsts: list[str | None] = []
    for arrival in arrivals:
        keys = [row["key"] for row in arrival.deliveries]
        first = next((holders[key] for key in keys if key in holders), None)
        if first is None:
            own |= zip(keys, arrival.deliveries, strict=True)
            holders |= dict.fromkeys(keys, arrival.id)
        firsts.append(first)
    _settle(connection, {key: row for key, row in wanted.items() if key not in known}, own)
    return firsts


def _take_all(connection: Connection, wanted: Mapping[str, Row], now: datetime) -> dict[str, str]:
    """Stores all keys but those that are known, and whose time is not over: these, with the executions they made."""
    statement = upsert(connection, deliveries)
    statement = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={"execution_id": statement.excluded.execution_id, "expires_at": statement.excluded.expires_at},
        where=deliveries.c.expires_at <= now,
    )
    known: dict[str, str] = {}
    missing = dict(sorted(wanted.items()))
    while missing:  # again for one that was known, and forgotten before we could look at it
        for key in connection.execute(statement.returning(deliveries.c.key), list(missing.values())).scalars():
            del missing[key]
        found = _holders(connection, list(missing)) if missing else {}
        known |= found
        missing = {key: row for key, row in missing.items() if key not in found}
    return known


def _holders(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    query = select(deliveries.c.key, deliveries.c.execution_id).where(deliveries.c.key.in_(keys))
    return {row[0]: row[1] for row in connection.execute(query)}


def _settle(connection: Connection, taken: Mapping[str, Row], own: Mapping[str, Row]) -> None:
    """Gives back the keys that are no arrival's own, and the others to the arrivals whose own they are."""
    unused = [key for key in taken if key not in own]
    if unused:
        connection.execute(delete(deliveries).where(deliveries.c.key.in_(unused)))
    moved = [own[key] for key, row in taken.items() if key in own and own[key] is not row]
    if moved:
        table = deliveries.c
        statement = update(deliveries).where(table.key == bindparam("of"))
        statement = statement.values(execution_id=bindparam("to"), expires_at=bindparam("until"))
        changes = [{"of": row["key"], "to": row["execution_id"], "until": row["expires_at"]} for row in moved]
        connection.execute(statement, changes)
