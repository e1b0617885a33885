"""`TokenStore` in SQL: the tokens of credentials, and whose turn it is to renew them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, select, update

from blocks.token_state import TokenFailure, TokenHold, TokenState
from flows.history.database import upsert
from flows.history.database_time import DatabaseTime
from flows.history.models import credential_tokens
from flows.history.rows import Row

_table = credential_tokens.c
_NO_FAILURE: Row = {"failures": 0, "failure": None, "is_lasting": False, "failed_settings": None, "retry_at": None}


def states(connection: Connection, time: DatabaseTime, *conditions: ColumnElement[bool]) -> list[TokenState]:
    query = select(credential_tokens).where(*conditions).order_by(_table.credential, _table.type)
    rows, now = connection.execute(query).mappings().all(), time.read(connection)
    return [_state(row, now) for row in rows]


def state(connection: Connection, credential: str, slug: str, time: DatabaseTime) -> TokenState | None:
    return next(iter(states(connection, time, _of(credential, slug))), None)


def claim(connection: Connection, credential: str, slug: str, seconds: float, time: DatabaseTime) -> TokenState | None:
    _declare(connection, credential, slug)
    until = connection.execute(select(_table.claimed_until).where(_of(credential, slug)).with_for_update()).scalar()
    now = time.read(connection)
    if until is not None and until > now:
        return None
    claimed = {"run": _table.run + 1, "claimed_until": now + timedelta(seconds=seconds)}
    connection.execute(update(credential_tokens).where(_of(credential, slug)).values(claimed))
    return state(connection, credential, slug, time)


def store(connection: Connection, hold: TokenHold, sealed: str, expires_in: float | None, time: DatabaseTime) -> bool:
    return _write(connection, hold, lambda now: _stored(now, sealed, expires_in), time)


def fail(connection: Connection, hold: TokenHold, failure: TokenFailure, retry: float, time: DatabaseTime) -> bool:
    def failed(now: datetime) -> Row:
        return {
            "claimed_until": None,
            "failures": _table.failures + 1,
            "failure": failure.message,
            "is_lasting": failure.lasting,
            "failed_settings": failure.settings,
            "retry_at": now + timedelta(seconds=retry),
        }

    return _write(connection, hold, failed, time)


def release(connection: Connection, hold: TokenHold) -> None:
    connection.execute(update(credential_tokens).where(_is_held(hold)).values(claimed_until=None))


def begin_connecting(connection: Connection, credential: str, slug: str, nonce: str) -> None:
    _declare(connection, credential, slug)
    connection.execute(update(credential_tokens).where(_of(credential, slug)).values(nonce=nonce))


def end_connecting(connection: Connection, credential: str, slug: str, nonce: str) -> bool:
    this = _of(credential, slug) & (_table.nonce == nonce)
    return connection.execute(update(credential_tokens).where(this).values(nonce=None)).rowcount == 1


def connect(
    connection: Connection,
    credential: str,
    slug: str,
    sealed: str,
    expires_in: float | None,
    by: str | None,
    time: DatabaseTime,
) -> None:
    _declare(connection, credential, slug)
    now = time.read(connection)
    connected = {"run": _table.run + 1, "connected_at": now, "connected_by": by}
    values = _stored(now, sealed, expires_in) | connected
    connection.execute(update(credential_tokens).where(_of(credential, slug)).values(values))


def reseal(connection: Connection, credential: str, slug: str, before: str, after: str) -> bool:
    this = _of(credential, slug) & (_table.sealed == before)
    return connection.execute(update(credential_tokens).where(this).values(sealed=after)).rowcount == 1


def forget(connection: Connection, credential: str, slug: str) -> None:
    connection.execute(delete(credential_tokens).where(_of(credential, slug)))


def _declare(connection: Connection, credential: str, slug: str) -> None:
    row = {"credential": credential, "type": slug, "run": 0, "failures": 0, "is_lasting": False}
    connection.execute(upsert(connection, credential_tokens).values(row).on_conflict_do_nothing())


def _write(connection: Connection, hold: TokenHold, values: Callable[[datetime], Row], time: DatabaseTime) -> bool:
    """Writes what `values` says of the time at which the row is locked, if the hold is the row's still."""
    if connection.execute(select(_table.run).where(_is_held(hold)).with_for_update()).first() is None:
        return False
    changed = values(time.read(connection))
    return connection.execute(update(credential_tokens).where(_is_held(hold)).values(changed)).rowcount == 1


def _stored(now: datetime, sealed: str, expires_in: float | None) -> Row:
    expires_at = None if expires_in is None else now + timedelta(seconds=expires_in)
    return _NO_FAILURE | {"sealed": sealed, "stored_at": now, "expires_at": expires_at, "claimed_until": None}


def _of(credential: str, slug: str) -> ColumnElement[bool]:
    return (_table.credential == credential) & (_table.type == slug)


def _is_held(hold: TokenHold) -> ColumnElement[bool]:
    return _of(hold.credential, hold.type) & (_table.run == hold.run) & _table.claimed_until.is_not(None)


def _state(row: Mapping[Any, Any], now: datetime) -> TokenState:
    failure = row["failure"]
    return TokenState(
        credential=row["credential"],
        type=row["type"],
        run=row["run"],
        sealed=row["sealed"],
        left=_seconds(now, row["expires_at"]),
        age=_seconds(row["stored_at"], now),
        connected_at=row["connected_at"],
        connected_by=row["connected_by"],
        failures=row["failures"],
        failure=None if failure is None else TokenFailure(failure, row["is_lasting"], row["failed_settings"] or ""),
        retry_in=max(_seconds(now, row["retry_at"]) or 0.0, 0.0),
    )


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    return None if since is None or until is None else (until - since).total_seconds()
