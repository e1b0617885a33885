"""The keys that seal every secret, and where they are kept.

A value is sealed with AES-256-GCM (NIST SP 800-38D): a random 96-bit nonce, and its `Place` as associated data, so that
a sealed value that is copied to another place does not open. The key id is a hash of the key: it says which key opens
the value, and nothing about the key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blocks.key_file import KEY_BYTES, decode_key, keys_in, locked, read_private, write_private
from blocks.sealed_text import NONCE_BYTES, Place, Sealed, is_bound, is_sealed, key_id_of, parse
from foundation.errors import ConfigurationError, CredentialError
from foundation.settings import Settings

_FILE_NOTE = "# Encryption keys, newest first. Without them no credential opens: back them up.\n"


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
        self._use(keys)
        self._path: Path | None = None
        self._stamp: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"Keyring(key_ids={self.key_ids!r})"

    @property
    def key_ids(self) -> list[str]:
        """Newest first."""
        return list(self._ciphers)

    def seal(self, plaintext: str, place: Place) -> str:
        """The sealed form of `plaintext`, which opens only in this place."""
        self._follow()
        newest, cipher = next(iter(self._ciphers.items()))
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Sealed("2", newest, nonce, cipher.encrypt(nonce, plaintext.encode(), place.associated_data("2"))).text()

    def open(self, sealed: str, *places: Place) -> str:
        """The plaintext of `sealed`, which belongs in one of these places.

        Raises:
            CredentialError: it is malformed, was changed or moved from another place, or its key is not in the ring.
        """
        place = places[0]
        version, key_id, nonce, ciphertext = parse(sealed, place)
        cipher = self._cipher(key_id)
        if cipher is None:
            raise CredentialError(
                f"{place} was sealed with key {key_id}, which is not among the {len(self._ciphers)} known "
                "here: add the key to IPAAS_ENCRYPTION_KEYS or the key file in IPAAS_HOME, or set the credential again"
            )
        for one in places:
            try:
                return cipher.decrypt(nonce, ciphertext, one.associated_data(version)).decode()
            except InvalidTag:
                continue
        raise CredentialError(
            f"{place} can't be opened: its sealed text was changed, or belongs to another credential or field"
            f"{''.join(f', or {name} was changed' for name in place.bound)}; set the credential again"
        )

    def sign(self, purpose: str, text: str) -> bytes:
        """A signature of `text` by the newest key (HMAC-SHA256), for this purpose only."""
        self._follow()
        return _signature(next(iter(self._keys.values())), purpose, text)

    def has_signed(self, purpose: str, text: str, signature: bytes) -> bool:
        """Whether one of the ring's keys made this signature."""
        self._follow()
        known = [hmac.compare_digest(_signature(key, purpose, text), signature) for key in self._keys.values()]
        return any(known)

    def knows_key_of(self, sealed: str) -> bool:
        """Whether the key that sealed `sealed` is in the ring."""
        key_id = key_id_of(sealed)
        return key_id is not None and self._cipher(key_id) is not None

    def reseal(self, sealed: str, place: Place) -> str:
        """`sealed` under the newest key and in the newest form; the same text when it is already.

        Raises:
            CredentialError: as `open`.
        """
        self._follow()
        if is_bound(sealed) and key_id_of(sealed) == self.key_ids[0]:
            return sealed
        return self.seal(self.open(sealed, place), place)

    @staticmethod
    def is_sealed(text: str) -> bool:
        """Whether `text` claims to be sealed."""
        return is_sealed(text)

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

    def _cipher(self, key_id: str) -> AESGCM | None:
        if key_id not in self._ciphers:
            self._follow()
        return self._ciphers.get(key_id)

    def _follow(self) -> None:
        """Reads the key file again when it changed, so that keys rotate under running processes."""
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except OSError as error:
            raise ConfigurationError(f"can't read {self._path}: {error.strerror}") from error
        if (stamp := (found.st_ino, found.st_mtime_ns)) != self._stamp:
            self._use(keys_in(read_private(self._path) or "", self._path))
            self._stamp = stamp

    def _use(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._keys = {_key_id(key): key for key in keys}


def _signature(key: bytes, purpose: str, text: str) -> bytes:
    """By a key of its own for each purpose, which says nothing about the one that seals."""
    own = hmac.digest(key, f"ipaas {purpose}".encode(), hashlib.sha256)
    return hmac.digest(own, text.encode(), hashlib.sha256)


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
