"""Large documents: kept aside, once for all that are equal, so that rows stay small and lists stay fast.

A row holds `sha256:…` in place of such a document (no JSON text begins so). They are in the database, not in files
beside it: a history is shared by several machines, and a document must come and go with the rows that refer to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select

from flows.history.database import upsert
from flows.history.models import payload_uses, payloads
from flows.history.rows import Row

REFERENCE = "sha256:"


def is_reference(text: str | None) -> bool:
    """Whether it stands for a document that is kept aside."""
    return text is not None and text.startswith(REFERENCE)


class LargeDocuments:
    """The large documents of one execution's write."""

    def __init__(self, execution_id: str, inline_bytes: int) -> None:
        self.execution_id, self._inline_bytes = execution_id, inline_bytes
        self.documents: dict[str, str] = {}

    def place(self, document: str | None) -> str | None:
        """What stands in the row: the document, or a reference when it is large."""
        if document is None or len(document) <= self._inline_bytes:
            return document
        digest = hashlib.sha256(document.encode()).hexdigest()
        self.documents[digest] = document
        return REFERENCE + digest


def keep(connection: Connection, writes: Iterable[LargeDocuments]) -> None:
    """Stores the large documents of these writes, whose executions are stored already."""
    writes = [write for write in writes if write.documents]
    if not writes:
        return
    documents = {digest: document for write in writes for digest, document in write.documents.items()}
    _insert(connection, documents)
    uses = sorted({(write.execution_id, digest) for write in writes for digest in write.documents})
    rows = [{"execution_id": execution_id, "hash": digest} for execution_id, digest in uses]
    connection.execute(upsert(connection, payload_uses).on_conflict_do_nothing(), rows)


def _insert(connection: Connection, documents: Mapping[str, str]) -> None:
    """Until all are there and locked: one that was there may be about to be pruned by another process."""
    missing = dict(documents)
    while missing:
        rows = [{"hash": digest, "document": document} for digest, document in sorted(missing.items())]
        connection.execute(upsert(connection, payloads).on_conflict_do_nothing(), rows)
        query = select(payloads.c.hash).where(payloads.c.hash.in_(list(missing))).order_by(payloads.c.hash)
        for digest in connection.execute(query.with_for_update(read=True, key_share=True)).scalars():
            del missing[digest]


def whole(connection: Connection, rows: Iterable[Mapping[Any, Any]], *columns: str) -> list[Row]:
    """The rows with the documents that they refer to in these columns."""
    found = [dict(row) for row in rows]
    places = [(row, column) for row in found for column in columns if row[column] and row[column].startswith(REFERENCE)]
    if places:
        digests = {row[column].removeprefix(REFERENCE) for row, column in places}
        query = select(payloads.c.hash, payloads.c.document).where(payloads.c.hash.in_(digests))
        documents = {REFERENCE + digest: document for digest, document in connection.execute(query)}
        for row, column in places:
            row[column] = documents[row[column]]
    return found


def used_by(connection: Connection, execution_ids: Sequence[str]) -> list[str]:
    """The hashes of the large documents that these executions refer to."""
    query = select(payload_uses.c.hash).where(payload_uses.c.execution_id.in_(execution_ids)).distinct()
    return list(connection.execute(query).scalars())


def drop_unused(connection: Connection, hashes: Sequence[str]) -> None:
    """Deletes those of them that nothing refers to any more."""
    if not hashes:
        return
    # Locked first, looked at by a statement of its own: so it sees what whoever held the lock has written.
    among = payloads.c.hash.in_(hashes)
    connection.execute(select(payloads.c.hash).where(among).order_by(payloads.c.hash).with_for_update()).all()
    used = select(payload_uses.c.hash).where(payload_uses.c.hash == payloads.c.hash).exists()
    connection.execute(delete(payloads).where(among, ~used))
