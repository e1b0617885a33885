"""References in secret fields: to the environment and to files; what they may not read; that they alone are stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks import BasicAuth, Credential, Keyring, MemoryCredentials, WebhookSecret
from connectors.kit.secrets.local import Environment, Files
from connectors.kit.secrets.source import ExternalSecrets
from connectors.kit.secrets.store import Surroundings
from foundation.clock import ManualClock
from foundation.errors import CredentialError
from foundation.masking import MASK, Masker
from foundation.settings import Settings

MAKERS = {
    "env": lambda around: Environment({"SHOP_PASSWORD": "geheim-1", "EMPTY": "", "IPAAS_API_TOKEN": "own"}),
    "file": lambda around: Files(around.settings.secrets_dirs),
}


async def got(kind: type[Credential], values: Mapping[str, Any], *, masker: Masker | None = None, **more: Any) -> Any:
    stored = MemoryCredentials({"shop": values}, masker=masker or Masker())
    settings = Settings(_env_file=None, **more)  # type: ignore[call-arg]
    async with httpx.AsyncClient() as http:
        source = ExternalSecrets(stored, Surroundings(settings, http, ManualClock()), MAKERS)
        return await source.get("shop", kind)


async def test_what_it_refers_to_is_used_and_masked() -> None:
    masker = Masker()
    credential = await got(BasicAuth, {"username": "u", "password": "env:SHOP_PASSWORD"}, masker=masker)

    assert credential.reveal("password") == "geheim-1"
    assert masker.mask("geheim-1 u:geheim-1 dTpnZWhlaW0tMQ==") == " ".join([MASK] * 3)


async def test_only_the_reference_is_in_the_credential() -> None:
    credential = await got(BasicAuth, {"username": "u", "password": "env:SHOP_PASSWORD"})

    kept = credential.password.get_secret_value()
    assert Keyring.is_sealed(kept)
    assert credential._opened("password", [credential.password]) == ["env:SHOP_PASSWORD"]


async def test_lists_of_secrets_may_have_references(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("from-file\n")
    values = {"secret": "file:hook", "previous": ["old-secret", "env:SHOP_PASSWORD"]}
    credential = await got(WebhookSecret, values, secrets_dirs=[tmp_path])

    assert credential.accepted("secret") == ["from-file", "old-secret", "geheim-1"]


async def test_a_secret_that_looks_like_a_reference_is_written_as_literal() -> None:
    credential = await got(WebhookSecret, {"secret": "literal:env:x"})

    assert credential.reveal("secret") == "env:x"
    assert (await got(WebhookSecret, {"secret": "https://a:b@c"})).reveal("secret") == "https://a:b@c"


async def test_nobody_sends_the_reference_itself() -> None:
    stored = MemoryCredentials({"shop": {"secret": "env:SHOP_PASSWORD"}})

    with pytest.raises(CredentialError, match="secret refers to env:SHOP_PASSWORD"):
        (await stored.get("shop", WebhookSecret)).reveal("secret")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("env:NONE", "the environment has no NONE"),
        ("env:EMPTY", "the environment has no EMPTY"),
        ("env:IPAAS_API_TOKEN", "is the platform's own"),
        ("env:aws_secret_access_key", "is the platform's own"),
        ("file:none", r"can't read .*none: No such file"),
        ("file:../outside", "is in none of the folders of IPAAS_SECRETS_DIRS"),
        ("file:/etc/passwd", "is in none of the folders"),
        ("file:link", "is in none of the folders"),
        ("file:binary", "is no text"),
        ("file:large", "is larger than"),
    ],
)
async def test_what_can_not_be_read_is_told(tmp_path: Path, reference: str, said: str) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (tmp_path / "outside").write_text("x")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "binary").write_bytes(b"\xff\xfe")
    (folder / "large").write_text("x" * 70_000)

    with pytest.raises(CredentialError, match=said) as raised:
        await got(WebhookSecret, {"secret": reference}, secrets_dirs=[folder])
    assert str(raised.value).startswith("credential 'shop': ")


async def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts secrets."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "hook").write_text("mounted")
    (tmp_path / "hook").symlink_to(Path("..data") / "hook")

    credential = await got(WebhookSecret, {"secret": "file:hook"}, secrets_dirs=[tmp_path])
    assert credential.reveal("secret") == "mounted"
