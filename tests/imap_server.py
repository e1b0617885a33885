"""A small IMAP server on this machine, strict about what it takes: enough of RFC 3501 to read a mailbox."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

USER, PASSWORD = "ann", 's3cret "pass\\word'
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')


@dataclass
class ImapServer:
    messages: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    """Mail and flags, by uid."""
    validity: int = 7
    mailboxes: tuple[str, ...] = ("INBOX",)
    hangs_at: str | None = None
    breaks_at: str | None = None
    port: int = 0
    commands: list[str] = field(default_factory=list)
    connections: list[asyncio.Task[None] | None] = field(default_factory=list)

    def deliver(self, *mails: bytes, flags: str = "") -> None:
        for mail in mails:
            self.messages[max(self.messages, default=0) + 1] = (mail, flags)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.current_task())
        try:
            await self._talk(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            tag, _, command = line.partition(" ")
            name = re.match(r"(UID )?\w+", command)
            assert name, line
            self.commands.append(command)
            if name[0] == self.breaks_at:
                return
            if name[0] == self.hangs_at:
                continue
            untagged, said = self._answer(name[0], command)
            writer.write(b"".join(b"* %b\r\n" % one for one in untagged) + f"{tag} {said}\r\n".encode())
            await writer.drain()

    def _answer(self, name: str, command: str) -> tuple[list[bytes], str]:
        given = [one.replace('\\"', '"').replace("\\\\", "\\") for one in _QUOTED.findall(command)]
        if name == "CAPABILITY":
            return [b"CAPABILITY IMAP4rev1"], "OK"
        if name == "LOGIN":
            return [], "OK welcome" if given == [USER, PASSWORD] else f"NO no such user, or not {given[-1]}"
        if name == "SELECT":
            if given[0] not in self.mailboxes:
                return [], "NO no such mailbox"
            told = [f"{len(self.messages)} EXISTS", f"OK [UIDVALIDITY {self.validity}] valid"]
            told.append(f"OK [UIDNEXT {max(self.messages, default=0) + 1}] next")
            return [one.encode() for one in told], "OK [READ-WRITE] selected"
        if name == "UID SEARCH":
            return [f"SEARCH {' '.join(map(str, self._search(command)))}".rstrip().encode()], "OK found"
        if name == "UID FETCH":
            return self._fetch(command), "OK fetched"
        assert name == "LOGOUT", command
        return [b"BYE"], "OK bye"

    def _search(self, command: str) -> list[int]:
        wanted = re.fullmatch(r"UID SEARCH (?:ALL|UID (\d+):\*)( UNSEEN)?", command)
        assert wanted, command
        since = min(int(wanted[1] or 1), max(self.messages, default=1))  # as RFC 3501 has it: *, where it is smaller
        return [
            uid for uid, (_, flags) in self.messages.items() if uid >= since and not (wanted[2] and "Seen" in flags)
        ]

    def _fetch(self, command: str) -> list[bytes]:
        wanted = re.fullmatch(r"UID FETCH ([\d,]+) \(UID (RFC822\.SIZE FLAGS|BODY\.PEEK\[(HEADER)?\])\)", command)
        assert wanted, command
        found = []
        for number, (uid, (mail, flags)) in enumerate(self.messages.items(), start=1):
            if str(uid) not in wanted[1].split(","):
                continue
            if wanted[2].startswith("RFC822"):
                found.append(f"{number} FETCH (UID {uid} RFC822.SIZE {len(mail)} FLAGS ({flags}))".encode())
                continue
            part = mail.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if wanted[3] else mail
            head = f"{number} FETCH (UID {uid} BODY[{wanted[3] or ''}] {{{len(part)}}}\r\n".encode()
            found.append(head + part + b")")
        return found


@asynccontextmanager
async def imap_server() -> AsyncIterator[ImapServer]:
    fake = ImapServer()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        open_ = [connection for connection in fake.connections if connection]
        for connection in open_:
            connection.cancel()
        await asyncio.gather(*open_, return_exceptions=True)
