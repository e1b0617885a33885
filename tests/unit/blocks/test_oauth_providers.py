"""What is particular to a vendor is in what an `oauth2` credential asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from blocks import Keyring, OAuth2, use_keyring
from blocks.oauth_providers import PROVIDERS
from blocks.token_credential import TokenRequest

BACK = "https://ipaas.example/oauth/callback"


@pytest.fixture(autouse=True)
def _ring() -> Iterator[None]:
    use_keyring(Keyring.generate())
    yield
    use_keyring(None)


def of(provider: str, **more: Any) -> OAuth2:
    given = {"client_id": "client", "client_secret": "s3cret-s3cret", "scopes": ["a", "b"]}
    return OAuth2(provider=provider, **(given | more))


def consent(credential: OAuth2) -> dict[str, str]:
    url = credential.consent_url(redirect_uri=BACK, state="state", verifier="v" * 64)
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


def exchange(credential: OAuth2) -> TokenRequest:
    return credential.code_request("code", redirect_uri=BACK, verifier="v" * 64)


@pytest.mark.parametrize("name", sorted(set(PROVIDERS) - {"slack"}))
def test_scopes_have_spaces_between_them_and_a_challenge_ties_the_code(name: str) -> None:
    page = consent(of(name))

    assert (page["scope"], page["code_challenge_method"]) == ("a b", "S256")
    assert exchange(of(name)).form["code_verifier"] == "v" * 64


def test_slack_takes_no_challenge_from_a_client_with_a_secret_which_is_in_the_header() -> None:
    page, request = consent(of("slack")), exchange(of("slack"))

    assert page["scope"] == "a,b"
    assert not {"code_challenge", "code_challenge_method"} & set(page)
    assert not {"code_verifier", "client_secret"} & set(request.form)
    assert request.headers["Authorization"].startswith("Basic ")


def test_slack_wants_the_challenge_of_a_public_client() -> None:
    public = of("slack", client_secret="")

    assert consent(public)["code_challenge_method"] == "S256"
    assert exchange(public).form["code_verifier"] == "v" * 64


def test_unused_tokens_stay_where_the_vendor_says_that_they_are_kept() -> None:
    assert {name for name in PROVIDERS if of(name).keep_alive is None} == {"dropbox"}
