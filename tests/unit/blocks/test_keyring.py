import base64
import secrets
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.keyring import Keyring, add_key, default_keyring, use_keyring
from blocks.sealed_text import Place, Sealed, key_id_of
from foundation.errors import ConfigurationError, CredentialError
from foundation.settings import Settings

RING = Keyring.generate()
OLD, NEW = b"o" * 32, b"n" * 32
TOKEN = Place("slack", "token", "team", {"base_url": "https://a.test"})


def settings(home: Path, *keys: str) -> Settings:
    return Settings(home=home, encryption_keys=[SecretStr(key) for key in keys], _env_file=None)


def sealed_by(ring: Keyring, text: str = "s3cret") -> str:
    return ring.seal(text, TOKEN)


def opened_by(ring: Keyring, sealed: str) -> str:
    return ring.open(sealed, TOKEN)


@given(st.text())
def test_what_was_sealed_opens_again(text: str) -> None:
    sealed = sealed_by(RING, text)
    assert sealed.isascii()
    assert Keyring.is_sealed(sealed)
    assert opened_by(RING, sealed) == text


def test_a_sealed_value_names_its_key_and_is_new_every_time() -> None:
    first, second = sealed_by(RING), sealed_by(RING)
    assert first.startswith(f"ipaas:v2:{RING.key_ids[0]}:")
    assert first != second


def test_an_unknown_key_is_named_with_what_to_do() -> None:
    sealed = sealed_by(Keyring([OLD]))
    with pytest.raises(CredentialError, match=r"slack\.token.*IPAAS_ENCRYPTION_KEYS") as caught:
        opened_by(Keyring([NEW]), sealed)
    assert key_id_of(sealed) in str(caught.value)


@given(st.data())
def test_a_changed_value_does_not_open(data: st.DataObject) -> None:
    sealed = sealed_by(RING)
    head, payload = sealed.rsplit(":", 1)
    raw = bytearray(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CredentialError, match="was changed"):
        opened_by(RING, f"{head}:{base64.urlsafe_b64encode(bytes(raw)).rstrip(b'=').decode()}")


@pytest.mark.parametrize(("block_type", "field"), [("slack", "previous"), ("bearer", "token")])
def test_a_value_moved_to_another_field_does_not_open(block_type: str, field: str) -> None:
    with pytest.raises(CredentialError, match=f"{block_type}.{field} can't be opened"):
        RING.open(sealed_by(RING), Place(block_type, field, "team"))


@pytest.mark.parametrize(
    "place",
    [
        replace(TOKEN, document="other"),
        replace(TOKEN, document=""),
        replace(TOKEN, bound={"base_url": "https://b.test"}),
        replace(TOKEN, bound={"base_url": None}),
        replace(TOKEN, bound={"header": "https://a.test"}),
        replace(TOKEN, bound={}),
    ],
)
def test_a_value_of_another_document_or_address_does_not_open(place: Place) -> None:
    with pytest.raises(CredentialError, match=r"slack\.token can't be opened: .* or belongs to another credential"):
        RING.open(sealed_by(RING), place)


def test_what_a_seal_is_bound_to_is_named_when_it_does_not_open() -> None:
    with pytest.raises(CredentialError, match="or base_url was changed; set the credential again"):
        RING.open(sealed_by(RING), replace(TOKEN, bound={"base_url": None}))


def test_a_type_may_get_a_bound_field_later() -> None:
    before, after = Place("slack", "token", "team"), Place("slack", "token", "team", {"base_url": None})
    assert RING.open(RING.seal("s3cret", before), after) == "s3cret"


def sealed_as_v1(ring_key: bytes, text: str) -> str:
    key_id = Keyring([ring_key]).key_ids[0]
    nonce = b"n" * 12
    return Sealed("1", key_id, nonce, AESGCM(ring_key).encrypt(nonce, text.encode(), b"slack\0token")).text()


def test_the_older_form_opens_and_is_sealed_anew_also_when_its_key_is_the_newest() -> None:
    ring = Keyring([OLD])
    older = sealed_as_v1(OLD, "s3cret")
    assert opened_by(ring, older) == "s3cret"
    resealed = ring.reseal(older, TOKEN)
    assert resealed.startswith("ipaas:v2:")
    assert opened_by(ring, resealed) == "s3cret"
    with pytest.raises(CredentialError):
        ring.open(resealed, replace(TOKEN, document="other"))


def test_a_seal_can_not_be_passed_off_as_one_of_the_older_form() -> None:
    sealed = RING.seal("s3cret", Place("slack", "token"))
    with pytest.raises(CredentialError, match="was changed"):
        opened_by(RING, sealed.replace("ipaas:v2:", "ipaas:v1:"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "xoxb-plain",
        "ipaas:v1:",
        "ipaas:v1:0000abcd:",
        "ipaas:v2:0000abcd:AAAA",
        "ipaas:v2:0000abcd:a",
        "ipaas:v3:0000abcd:AAAA",
    ],
)
def test_malformed_sealed_text_is_a_credential_error(text: str) -> None:
    with pytest.raises(CredentialError, match="malformed"):
        opened_by(RING, text)


def test_rotation_seals_anew_only_what_an_older_key_sealed() -> None:
    rotated = Keyring([NEW, OLD])
    sealed = sealed_by(Keyring([OLD]))
    resealed = rotated.reseal(sealed, TOKEN)
    assert opened_by(Keyring([NEW]), resealed) == "s3cret"
    assert rotated.reseal(resealed, TOKEN) == resealed


def test_keys_of_the_environment_come_first_and_newest_first(tmp_path: Path) -> None:
    keys = [base64.b64encode(key).decode() for key in (NEW, OLD)]
    assert Keyring.from_settings(settings(tmp_path, *keys)).key_ids == Keyring([NEW, OLD]).key_ids
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["not base64!", "c2hvcnQ=", "é" * 44])
def test_a_bad_key_is_counted_but_not_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigurationError, match="key 2 of IPAAS_ENCRYPTION_KEYS") as caught:
        Keyring.from_settings(settings(tmp_path, Keyring.new_key(), key))
    assert key not in str(caught.value)


def test_the_first_use_makes_a_private_key_file(tmp_path: Path) -> None:
    given = settings(tmp_path / "new" / "home")
    ring = Keyring.from_settings(given)
    assert stat.S_IMODE(given.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(given.home.stat().st_mode) == 0o700
    assert [path.name for path in given.home.iterdir()] == [given.key_file.name]
    assert Keyring.from_settings(given).key_ids == ring.key_ids


def test_a_key_file_has_comments_and_urlsafe_keys(tmp_path: Path) -> None:
    given = settings(tmp_path)
    key = b"\xfb\xff" * 16
    given.key_file.write_text(f"# ours\n\n{base64.urlsafe_b64encode(key).decode().rstrip('=')}  # of May\n")
    given.key_file.chmod(0o600)
    assert Keyring.from_settings(given).key_ids == Keyring([key]).key_ids


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    given = settings(tmp_path)
    Keyring.from_settings(given)
    given.key_file.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {given.key_file}"):
        Keyring.from_settings(given)


@pytest.mark.parametrize(
    ("text", "said"), [("# nothing\n", "holds no key"), ("\nxyz\n", "encryption-keys:2"), ("ключ", "not a key file")]
)
def test_a_broken_key_file_says_where(tmp_path: Path, text: str, said: str) -> None:
    given = settings(tmp_path)
    given.key_file.write_text(text, encoding="utf-8")
    given.key_file.chmod(0o600)
    with pytest.raises(ConfigurationError, match=said):
        Keyring.from_settings(given)


def test_a_home_that_can_not_be_made_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"Not a directory.*IPAAS_HOME"):
        Keyring.from_settings(settings(tmp_path / "file" / "home"))


def test_all_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def start(_: int) -> list[str]:
        together.wait()
        return Keyring.from_settings(settings(tmp_path / "home")).key_ids

    with ThreadPoolExecutor(8) as pool:  # the lock is between open files: threads race as processes do
        rings = list(pool.map(start, range(8)))
    assert rings == [rings[0]] * 8


def test_no_key_that_is_added_at_once_is_lost(tmp_path: Path) -> None:
    given = settings(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: add_key(given), range(8)))
    assert sorted(added) == sorted(Keyring.from_settings(given).key_ids)


def test_a_new_key_goes_in_front_and_old_values_still_open(tmp_path: Path) -> None:
    given = settings(tmp_path)
    sealed = sealed_by(Keyring.from_settings(given))
    new = add_key(given)
    ring = Keyring.from_settings(given)
    assert ring.key_ids == [new, key_id_of(sealed)]
    assert key_id_of(sealed_by(ring)) == new
    assert opened_by(ring, sealed) == "s3cret"
    assert stat.S_IMODE(given.key_file.stat().st_mode) == 0o600


def test_a_running_process_follows_the_key_file(tmp_path: Path) -> None:
    given = settings(tmp_path)
    running = Keyring.from_settings(given)
    new = add_key(given)
    assert opened_by(running, sealed_by(Keyring.from_settings(given))) == "s3cret"
    assert key_id_of(sealed_by(running)) == new


def test_keys_of_the_environment_are_not_added_to_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="IPAAS_ENCRYPTION_KEYS"):
        add_key(settings(tmp_path, Keyring.new_key()))


def test_a_keyring_shows_no_key() -> None:
    assert base64.b64encode(OLD).decode() not in repr(Keyring([OLD]))
    assert repr(OLD) not in repr(Keyring([OLD]))


def test_a_ring_needs_whole_keys() -> None:
    for keys in ([], [b"short"]):
        with pytest.raises(ConfigurationError):
            Keyring(keys)


def test_the_process_ring_is_loaded_once_from_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPAAS_HOME", str(tmp_path))
    use_keyring(None)
    try:
        assert default_keyring() is default_keyring()
        assert default_keyring().key_ids == Keyring.from_settings(settings(tmp_path)).key_ids
    finally:
        use_keyring(None)


def test_a_signature_is_of_a_key_a_purpose_and_a_text():
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    signature = Keyring([old]).sign("callback", "text")

    assert Keyring([new, old]).has_signed("callback", "text", signature)
    assert not Keyring([new]).has_signed("callback", "text", signature)
    assert not Keyring([old]).has_signed("other", "text", signature)
    assert not Keyring([old]).has_signed("callback", "texts", signature)
    assert not Keyring([old]).has_signed("callback", "text", signature[:-1])
