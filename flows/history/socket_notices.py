"""Notices beside a SQLite file: each process that listens has a Unix datagram socket in a private folder.

The folder is `<database>.notices`, or one in the temporary folder where that path is too long for a socket's address.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flows.history.notices import EVERYTHING, LocalNotices, Notice, logger, messages, notices_in

ADDRESS_BYTES = 100
"""A socket's address holds 107 bytes on Linux, 103 on macOS (unix(7), unix(4))."""
NAME_BYTES = 20
"""No socket's name is longer. All processes must come to the same folder, so it is not each one's own that counts."""
LISTED_SECONDS = 1.0
"""After so long the folder is listed again even if its time says that nothing has changed: that time is coarse."""
RETRY_SECONDS = 0.05
RETRIES = 3
"""How often one whose buffer was full is tried again; who sleeps longer than that looks by itself when it wakes."""
READ_AT_ONCE = 100
_RECEIVED_BYTES = 65_536


class SocketNotices(LocalNotices):
    def __init__(self, database: Path) -> None:
        super().__init__()
        self._database = database
        self._folder: Path | None = None
        self._own: socket.socket | None = None
        self._own_name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._sender: socket.socket | None = None
        self._others: list[str] = []
        self._listed: tuple[int, float] = 0, 0.0
        """The folder's time when it was listed, and when that was."""
        self._behind: dict[str, int] = {}
        """The sockets that were full, and how often they are tried again."""

    async def close(self) -> None:
        await super().close()
        self._behind.clear()
        if self._sender:
            self._sender.close()
        if self._own:
            asyncio.get_running_loop().remove_reader(self._own)
            self._own.close()
            with contextlib.suppress(OSError):
                (self._place() / self._own_name).unlink()
                self._place().rmdir()  # unless somebody else listens
        self._sender = self._own = None

    def _place(self) -> Path:
        if self._folder is None:
            self._folder = folder_of(self._database)
        return self._folder

    # Sending

    def _send(self, notices: Sequence[Notice]) -> None:
        try:
            others = self._listeners()
        except OSError as error:
            logger.debug("no notices are sent: %s", error)
            return
        if not others:
            return
        sent = [message.encode() for message in messages(notices)]
        for name in others:
            if name not in self._behind and not self._send_to(name, sent):
                self._behind[name] = RETRIES
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._send_again, name)

    def _listeners(self) -> list[str]:
        """The names of the other processes' sockets. Raises OSError: the folder can't be used."""
        folder, now = self._place(), asyncio.get_running_loop().time()
        try:
            changed = _private(folder).st_mtime_ns
        except FileNotFoundError:
            return []  # nobody has listened yet
        if changed != self._listed[0] or now - self._listed[1] > LISTED_SECONDS:
            names = os.listdir(folder)
            self._others = [name for name in names if name != self._own_name and not name.startswith(".")]
            self._listed = changed, now
        return self._others

    def _send_to(self, name: str, sent: Sequence[bytes]) -> bool:
        """False when the listener's buffer is full."""
        if self._sender is None:
            self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sender.setblocking(False)
        address = self._place() / name
        try:
            for message in sent:
                self._sender.sendto(message, str(address))
        except BlockingIOError:
            return False
        except ConnectionRefusedError:  # its process has died
            with contextlib.suppress(OSError):
                address.unlink()
        except OSError as error:
            logger.debug("no notice is sent to %s: %s", name, error)
        return True

    def _send_again(self, name: str) -> None:
        """To one that was full: it does not know what it has missed, so it is to look at everything."""
        tries = self._behind.pop(name, 0)
        if not tries or self._send_to(name, [message.encode() for message in messages(EVERYTHING)]):
            return
        if tries > 1:
            self._behind[name] = tries - 1
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._send_again, name)

    # Listening

    async def _listen(self) -> None:
        if self._own:
            return
        try:
            try:
                self._own = self._bound()
            except FileNotFoundError:  # whoever listened last took the folder away just now
                self._own = self._bound()
        except OSError as error:
            logger.warning("no notices of other processes come, so what they did is found by looking for it: %s", error)
        else:
            asyncio.get_running_loop().add_reader(self._own, self._receive)

    def _bound(self) -> socket.socket:
        """A socket in the folder. Raises OSError."""
        folder = self._place()
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        _private(folder)
        own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            own.setblocking(False)
            # It gets its name once it is bound: before that, a sender would take its process for dead.
            own.bind(str(folder / f".{self._own_name}"))
            (folder / f".{self._own_name}").rename(folder / self._own_name)
        except OSError:
            own.close()
            raise
        return own

    def _receive(self) -> None:
        for _ in range(READ_AT_ONCE):  # the rest in the loop's next turn
            if self._own is None:
                return
            try:
                message = self._own.recv(_RECEIVED_BYTES)
            except BlockingIOError:
                return
            self._hear(notices_in(message.decode(errors="replace")))


def folder_of(database: Path) -> Path:
    """Where the sockets are.

    Raises:
        OSError: every path is too long for a socket's address.
    """
    whole = database.resolve()
    digest = hashlib.sha256(os.fsencode(whole)).hexdigest()[:16]
    for folder in (whole.with_name(f"{whole.name}.notices"), Path(tempfile.gettempdir(), f"ipaas-{digest}")):
        if len(os.fsencode(folder)) + len("/.") + NAME_BYTES <= ADDRESS_BYTES:
            return folder
    raise OSError(f"the path of the temporary folder {tempfile.gettempdir()} is too long for a socket's address")


def _private(folder: Path) -> os.stat_result:
    """Raises PermissionError when others could have made it, or can use it: their notices are not to be trusted."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone (mode 0700)")
    return found
