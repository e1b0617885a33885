"""The keys that seal every secret, and where they are kept.

A sealed value is ASCII text, `ipaas:v1:<key id>:<base64url(nonce + ciphertext)>`: AES-256-GCM (NIST SP 800-38D) with a
random 96-bit nonce, and the block type and field as associated data, so a sealed value copied into another field does
not open. The key id is a hash of the key: it says which key opens the value, and nothing about the key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blocks.key_file import KEY_BYTES, decode_key, keys_in, locked, read_private, write_private
from foundation.errors import ConfigurationError, CredentialError
from foundation.settings import Settings

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
PREFIX: Final = "ipaas:v1:"

_FILE_NOTE = "# Encryption keys, newest first. Without them no credential opens: back them up.\n"
_SEALED = re.compile(r"ipaas:v1:(?P<key_id>[0-9a-f]{8}):(?P<payload>[A-Za-z0-9_-]+)", re.ASCII)


class Keyring:
    """Seals with the newest key, opens with any.

    Args:
        keys: 32 bytes each, newest first.

    Raises:
        ConfigurationError: no key, or one of another length.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ConfigurationError("a keyring needs at least one key")
        if any(len(key) != KEY_BYTES for key in keys):
            raise ConfigurationError(f"every encryption key has {KEY_BYTES} bytes")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._path: Path | None = None
        self._stamp: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"Keyring(key_ids={self.key_ids!r})"

    @property
    def key_ids(self) -> list[str]:
        """Newest first."""
        return list(self._ciphers)

    def seal(self, plaintext: str, *, block_type: str, field: str) -> str:
        """The sealed form of `plaintext`, which opens only as this field of this block type."""
        self._follow()
        newest, cipher = next(iter(self._ciphers.items()))
        nonce = secrets.token_bytes(NONCE_BYTES)
        ciphertext = cipher.encrypt(nonce, plaintext.encode(), _associated(block_type, field))
        payload = base64.urlsafe_b64encode(nonce + ciphertext).rstrip(b"=").decode()
        return f"{PREFIX}{newest}:{payload}"

    def open(self, sealed: str, *, block_type: str, field: str) -> str:
        """The plaintext of `sealed`.

        Raises:
            CredentialError: it is malformed, was changed or moved from another field, or its key is not in the ring.
        """
        key_id, payload = _parse(sealed, block_type=block_type, field=field)
        if key_id not in self._ciphers:
            self._follow()
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CredentialError(
                f"{block_type}.{field} was sealed with key {key_id}, which is not among the {len(self._ciphers)} known "
                "here: add the key to IPAAS_ENCRYPTION_KEYS or the key file in IPAAS_HOME, or set the credential again"
            )
        try:
            plaintext = cipher.decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], _associated(block_type, field))
        except InvalidTag:
            raise CredentialError(
                f"{block_type}.{field} can't be opened: its sealed text was changed, or belongs to another field; "
                "set the credential again"
            ) from None
        return plaintext.decode()

    def reseal(self, sealed: str, *, block_type: str, field: str) -> str:
        """`sealed` under the newest key; the same text when it is already.

        Raises:
            CredentialError: as `open`.
        """
        self._follow()
        if key_id_of(sealed) == self.key_ids[0]:
            return sealed
        return self.seal(self.open(sealed, block_type=block_type, field=field), block_type=block_type, field=field)

    @staticmethod
    def is_sealed(text: str) -> bool:
        """Whether `text` claims to be sealed. It may still be malformed: see `check_sealed`."""
        return text.startswith(PREFIX)

    @staticmethod
    def check_sealed(text: str, *, block_type: str, field: str) -> None:
        """Raises:
        CredentialError: `text` is not well-formed sealed text. Needs no key.
        """
        _parse(text, block_type=block_type, field=field)

    @staticmethod
    def new_key() -> str:
        """A fresh random key, as it is written in `IPAAS_ENCRYPTION_KEYS` and the key file."""
        return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()

    @classmethod
    def generate(cls) -> Keyring:
        """A ring of one fresh key that is kept nowhere: for tests and runs that store nothing."""
        return cls([secrets.token_bytes(KEY_BYTES)])

    @classmethod
    def from_settings(cls, settings: Settings) -> Keyring:
        """The ring of `IPAAS_ENCRYPTION_KEYS`, else of the key file, which is made when there is none.

        Raises:
            ConfigurationError: a key is malformed, the key file is open to others, or it can't be read or made.
        """
        if settings.encryption_keys:
            return cls(
                [
                    decode_key(key.get_secret_value(), f"key {number} of IPAAS_ENCRYPTION_KEYS")
                    for number, key in enumerate(settings.encryption_keys, start=1)
                ]
            )
        path = settings.key_file
        text = read_private(path)
        if text is None:
            with locked(path.parent):
                text = read_private(path)  # another process may have been first
                if text is None:
                    text = f"{cls.new_key()}\n{_FILE_NOTE}"
                    write_private(path, text)
        ring = cls(keys_in(text, path))
        ring._path = path
        return ring

    def _follow(self) -> None:
        """Reads the key file again when it changed, so that keys rotate under running processes."""
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except OSError as error:
            raise ConfigurationError(f"can't read {self._path}: {error.strerror}") from error
        if (stamp := (found.st_ino, found.st_mtime_ns)) != self._stamp:
            self._ciphers = {_key_id(key): AESGCM(key) for key in keys_in(read_private(self._path) or "", self._path)}
            self._stamp = stamp


def add_key(settings: Settings) -> str:
    """Puts a fresh key in front of the key file, so that new seals use it, also those of running processes.

    Returns:
        The new key's id.

    Raises:
        ConfigurationError: the keys come from `IPAAS_ENCRYPTION_KEYS`, or the key file can't be read or written.
    """
    if settings.encryption_keys:
        raise ConfigurationError(
            "the keys come from IPAAS_ENCRYPTION_KEYS: put a new one in front there (32 random bytes, base64)"
        )
    key = Keyring.new_key()
    with locked(settings.key_file.parent):
        text = read_private(settings.key_file) or ""
        keys_in(f"{key}\n{text}", settings.key_file)  # a file that is already broken is not written again
        write_private(settings.key_file, f"{key}\n{text}")
    return _key_id(base64.b64decode(key))


def key_id_of(sealed: str) -> str | None:
    """The id of the key that sealed `sealed`; None when it is not sealed text."""
    match = _SEALED.fullmatch(sealed)
    return match["key_id"] if match else None


_default: Keyring | None = None


def use_keyring(keyring: Keyring | None) -> None:
    """Sets the ring that credentials of this process are sealed and opened with; None: from the settings again."""
    global _default
    _default = keyring


def default_keyring() -> Keyring:
    """This process's ring: the one `use_keyring` set, else the settings' own, loaded at the first use.

    Raises:
        ConfigurationError: as `Keyring.from_settings`.
    """
    global _default
    if _default is None:
        _default = Keyring.from_settings(Settings())
    return _default


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"ipaas key id\0" + key).hexdigest()[:8]


def _associated(block_type: str, field: str) -> bytes:
    return f"{block_type}\0{field}".encode()


def _parse(sealed: str, *, block_type: str, field: str) -> tuple[str, bytes]:
    match = _SEALED.fullmatch(sealed)
    payload = b""
    if match:
        text = match["payload"]
        try:
            payload = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except binascii.Error:
            payload = b""
    if not match or len(payload) < NONCE_BYTES + TAG_BYTES:
        raise CredentialError(f"{block_type}.{field} holds malformed sealed text; set the credential again")
    return match["key_id"], payload
