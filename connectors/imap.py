"""`imap`: a mailbox, read over IMAP4rev1."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from pydantic import Field, SecretStr

from blocks.credential import Credential
from connectors.kit.action import action, opened
from connectors.kit.mail import MailContent, read_mail
from foundation.errors import ActionError, ConnectionFailed, CredentialError, StepTimeout
from foundation.printable import printable

COMMAND_SECONDS: Final = 30.0
GOODBYE_SECONDS: Final = 2.0
MOST_MESSAGES: Final = 200
WHOLE_BYTES: Final = 10 * 1024 * 1024
"""Of a larger message only the headers are read."""
TOGETHER_BYTES: Final = 20 * 1024 * 1024
"""Of all messages of one call; what is beyond is left for the next one."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LAST: Final = re.compile(r"([1-9]\d{0,9})\.(\d{1,10})")
_SHORT: Final = re.compile(rb'BODY\[\w*\] (?:NIL|"((?:[^"\\]|\\.)*)")')
_FETCHED: Final = re.compile(rb"FETCH \((.*)")

Client = Any
"""`aioimaplib.IMAP4`, which ships no types."""


class ImapCredential(Credential):
    _block_type_slug = "imap"
    _block_type_name = "IMAP"
    _description = "A mailbox that is read over IMAP (RFC 3501)."
    _binds = ("host",)

    host: str = Field(description="The server. Who changes it types the password again.")
    port: int = Field(default=993, description="The server's port.")
    username: str = Field(description="The user name, often the mail address; not a secret.")
    password: SecretStr = Field(description="The password, or one that was made for this application.")
    tls: bool = Field(default=True, description="Encrypted from the first byte on; false sends the password in clear.")


class MailMessage(MailContent):
    """`id` tells the message from all others of its mailbox; `size` is in bytes; `flags` are as `\\Seen`.

    A message of more than 10 MiB is not `whole`: it has its headers only.
    """

    id: str
    size: int
    flags: list[str]
    whole: bool


class Messages(TypedDict):
    messages: list[MailMessage]
    last: str
    more: bool


@action("imap.messages", credential=ImapCredential)
async def messages(
    *,
    mailbox: str = "INBOX",
    after: str | None = None,
    unseen: bool = False,
    limit: int = 50,
    credential: str,
) -> Messages:
    """Reads messages of a mailbox, and changes nothing there: https://www.rfc-editor.org/rfc/rfc3501

    Args:
        mailbox: the folder's name, as the server shows it.
        after: the `last` of an earlier call: the oldest messages that came since. Without it, the newest there are.
        unseen: only those that nobody has read.
        limit: how many at most, up to 200; 20 MiB together.
        credential: the name of a credential of type imap.

    Returns:
        The messages, the oldest first; `last`, for the next call's `after`; and whether there are `more` already.
    """
    if not 1 <= limit <= MOST_MESSAGES:
        raise ActionError(f"imap.messages: limit is from 1 to {MOST_MESSAGES}, got {limit}")
    known = _LAST.fullmatch(after) if after else None
    if after and not known:
        raise ActionError(f"imap.messages: after is the `last` of an earlier call, got {after!r}")
    async with _logged_in(credential) as client:
        box = await _select(client, mailbox)
        since = int(known[2]) if known and int(known[1]) == box.validity else None  # else the mailbox is another one
        found = await _search(client, since, unseen)
        if since is None:
            read, _ = await _read(client, box, found[-limit:][::-1])
            return {"messages": read[::-1], "last": box.id(max([box.next_uid - 1, *found])), "more": False}
        read, last = await _read(client, box, found[:limit])
    return {"messages": read, "last": box.id(last or since), "more": bool(found) and last != found[-1]}


async def check_credential(name: str) -> str:
    """Whether the server lets it in: https://www.rfc-editor.org/rfc/rfc3501#section-6.2.3"""
    async with _logged_in(name) as client:
        box = await _select(client, "INBOX")
    return f"the server lets it in; INBOX has {box.messages} messages"


@dataclass(frozen=True)
class _Box:
    """An opened mailbox. Its ids mean something as long as `validity` is the same."""

    validity: int
    next_uid: int
    messages: int

    def id(self, uid: int) -> str:
        return f"{self.validity}.{uid}"


@asynccontextmanager
async def _logged_in(name: str) -> AsyncIterator[Client]:
    from aioimaplib import IMAP4, IMAP4_SSL, AioImapException, CommandTimeout  # here: only who reads mail waits for it

    logging.getLogger(IMAP4.__module__).setLevel(logging.WARNING)  # below it writes mails and passwords
    credential = await opened(name, ImapCredential)
    host, port, place = credential.host, credential.port, f"{credential.host}:{credential.port}"
    if credential.tls:
        client = IMAP4_SSL(host, port, timeout=COMMAND_SECONDS, ssl_context=ssl.create_default_context())
    else:
        client = IMAP4(host, port, timeout=COMMAND_SECONDS)
    try:
        await client.wait_hello_from_server()
        password = credential.reveal("password")
        answer = await client.login(_quoted(credential.username), _without_controls(password))
        if answer.result != "OK":
            raise CredentialError(f"{place} refuses the login of credential {name!r}: {_said(answer.lines)}")
        yield client
    except (TimeoutError, CommandTimeout):
        raise StepTimeout(f"{place} did not answer in time", retriable=True) from None
    except OSError as error:
        raise ConnectionFailed(f"{place} could not be reached: {error}", retriable=True) from None
    except AioImapException as error:  # which may quote what was sent
        raise ConnectionFailed(f"{place}: the connection broke: {type(error).__name__}", retriable=True) from None
    finally:
        with suppress(TimeoutError, OSError, AioImapException):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await client.logout()
        if client.protocol.transport:
            client.protocol.transport.close()


async def _select(client: Client, mailbox: str) -> _Box:
    """Opens a mailbox. Not by EXAMINE, after which the library takes it for closed: nothing here changes it anyway."""
    answer = await client.select(_quoted(_in_utf7(mailbox)))
    if answer.result != "OK":
        raise ActionError(f"mailbox {mailbox!r} can't be opened: {_said(answer.lines)}")
    text = b"\n".join(answer.lines)
    return _Box(*(_number(text, what) for what in (rb"UIDVALIDITY (\d+)", rb"UIDNEXT (\d+)", rb"(\d+) EXISTS")))


def _number(text: bytes, what: bytes) -> int:
    if not (found := re.search(what, text)):
        raise ActionError(f"the server does not tell the mailbox's {what.decode().split()[0]}")
    return int(found[1])


async def _search(client: Client, since: int | None, unseen: bool) -> list[int]:
    """The uids, ascending."""
    wanted = [f"UID {since + 1}:*" if since is not None else "ALL", *(["UNSEEN"] if unseen else [])]
    answer = await client.uid_search(*wanted, charset=None)
    if answer.result != "OK":
        raise ActionError(f"the mailbox can't be searched: {_said(answer.lines)}")
    numbers = {int(word) for line in answer.lines[:-1] for word in line.split() if word.isdigit()}
    return sorted(uid for uid in numbers if since is None or uid > since)  # 9:* finds the last one, be it before 9


async def _read(client: Client, box: _Box, uids: Sequence[int]) -> tuple[list[MailMessage], int | None]:
    """The messages in this order, and the last uid that was come to; those that are gone are passed over."""
    known = await _sizes(client, uids) if uids else {}
    read: list[MailMessage] = []
    last, together = None, 0
    for uid in uids:
        if uid in known:
            size, flags = known[uid]
            whole = size <= WHOLE_BYTES
            together += size if whole else 0
            if read and together > TOGETHER_BYTES:
                break
            content = await _content(client, uid, "BODY.PEEK[]" if whole else "BODY.PEEK[HEADER]")
            if content is not None:
                mail = await asyncio.to_thread(read_mail, content)
                if not whole:
                    mail["text"] = mail["html"] = None
                read.append({**mail, "id": box.id(uid), "size": size, "flags": flags, "whole": whole})
        last = uid
    return read, last


async def _sizes(client: Client, uids: Iterable[int]) -> dict[int, tuple[int, list[str]]]:
    """Each message's size and flags, of those that are there."""
    found = {}
    for line in await _fetch(client, ",".join(map(str, sorted(uids))), "(UID RFC822.SIZE FLAGS)"):
        uid, size, flags = (re.search(what, line) for what in (rb"UID (\d+)", rb"SIZE (\d+)", rb"FLAGS \(([^)]*)\)"))
        if _FETCHED.search(line) and uid and size:
            found[int(uid[1])] = int(size[1]), flags[1].decode("ascii", "replace").split() if flags else []
    return found


async def _content(client: Client, uid: int, part: str) -> bytes | None:
    """A message, or a part of it; None when it has gone meanwhile."""
    for line in await _fetch(client, str(uid), f"(UID {part})"):
        if isinstance(line, bytearray):  # a literal: what all servers send but for very short ones
            return bytes(line)
        if short := _SHORT.search(line):
            return (short[1] or b"").replace(b'\\"', b'"').replace(b"\\\\", b"\\")
    return None


async def _fetch(client: Client, uids: str, parts: str) -> Sequence[bytes]:
    answer = await client.uid("fetch", uids, parts)
    if answer.result != "OK":
        raise ActionError(f"messages can't be read: {_said(answer.lines)}")
    lines: Sequence[bytes] = answer.lines
    return lines


def _quoted(text: str) -> str:
    """A quoted string (RFC 3501, 4.3).

    Raises:
        ActionError: it can't be one: a line break would begin another command.
    """
    escaped = _without_controls(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _without_controls(text: str) -> str:
    if _CONTROL.search(text):
        raise ActionError("what can't be sent to a mail server: a name or password has control characters")
    return text


def _in_utf7(name: str) -> str:
    """A mailbox's name as it is sent (RFC 3501, 5.1.3)."""

    def encoded(found: re.Match[str]) -> str:
        return f"&{base64.b64encode(found[0].encode('utf-16-be')).decode().rstrip('=').replace('/', ',')}-"

    return re.sub(r"[^\x00-\x7f]+", encoded, name.replace("&", "&-"))


def _said(lines: Sequence[bytes]) -> str:
    """The server's own words."""
    return printable(bytes(lines[-1]).decode("utf-8", "replace"))[:300] if lines else "no reason given"
