"""Encryption keys as text: how one is written, and the file that keeps them when the environment does not.

The file has one base64 key a line, newest first, with `#` comments, and is readable by its owner only.
"""

from __future__ import annotations

import base64
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from foundation.errors import ConfigurationError

KEY_BYTES: Final = 32


def decode_key(text: str, where: str) -> bytes:
    """The key that `text` writes, in standard or URL-safe base64.

    Raises:
        ConfigurationError: it is not one; the message says `where`, and never shows it.
    """
    try:
        padded = text.translate(str.maketrans("-_", "+/")).rstrip("=")
        key = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{where} is not base64 of {KEY_BYTES} bytes: make one with `ipaas keys new`")
    return key


def keys_in(text: str, path: Path) -> list[bytes]:
    """The keys of a key file's text, newest first.

    Raises:
        ConfigurationError: there is none, or a line is not a key.
    """
    lines = [(number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), start=1)]
    keys = [decode_key(line, f"{path}:{number}") for number, line in lines if line]
    if not keys:
        raise ConfigurationError(f"{path} holds no key: put one there, one a line, newest first")
    return keys


def read_private(path: Path) -> str | None:
    """The file's text, None when there is no file.

    Raises:
        ConfigurationError: it can't be read, or others can read it.
    """
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise ConfigurationError(f"{path} is open to other users (mode {mode:o}): chmod 600 {path}")
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not a key file: one base64 key a line, newest first") from None
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from error


def write_private(path: Path, text: str) -> None:
    """Replaces the file as a whole, mode 0600 from its first byte, and on the disk before this returns: a key that
    sealed something must not be lost with the power."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # O_EXCL, mode 0600
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:  # whatever it is, a cancel too: no half a key stays behind
            Path(temporary).unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _unwritable(path.parent, error) from error


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """One process at a time; makes the home (0700) when there is none. The lock is the directory's own, so that no lock
    file stays behind."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(home, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(home, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _unwritable(home: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"can't keep encryption keys in {home}: {error.strerror}; "
        "make it writable, or set IPAAS_HOME or IPAAS_ENCRYPTION_KEYS"
    )
